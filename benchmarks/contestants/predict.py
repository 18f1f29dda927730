"""Greedy answers for the test texts: semtune and transformers' `generate()`, with the same merged adapter.

Variants: ours, transformers. Timed is from token ids (ours: from texts) to answers; loading and merging are not. The
answers are printed too, so that the bench can compare them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.contestants.common import Data, Settings, as_batches, read_data, run_program

BATCH_SIZE = 20
MAX_NEW_TOKENS = 64


def main(settings: Settings) -> dict[str, Any]:
    """Examples a second and the answers of one variant."""
    import torch

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    texts = data.test[: settings.texts] if settings.texts else data.test
    answer = {"ours": _ours, "transformers": _transformers}[settings.variant]
    seconds, answers = answer(settings, data, texts)
    return {
        "seconds": seconds,
        "examples": len(texts),
        "examples_per_second": len(texts) / seconds,
        "answers": answers,
        "dtype": settings.dtype,
    }


def _ours(settings: Settings, data: Data, texts: list[dict[str, Any]]) -> tuple[float, list[str]]:
    from semtune.approaches.tuned_model import TunedModel
    from semtune.records import Example, TargetSpace
    from semtune.specs import read_spec, resolve, with_changes

    spec = read_spec(Path(settings.work) / "adapter-spec.yaml")
    changes = {"precision": settings.dtype, "predict_batch_size": BATCH_SIZE, "max_new_tokens": MAX_NEW_TOKENS}
    spec = resolve(with_changes(spec, changes))
    tuned = TunedModel.build(spec, TargetSpace(data.answer, tuple(data.labels)))
    tuned.restore(Path(data.adapter_folder))
    tuned.merge()
    examples = [Example(t["id"], t["text"], None) for t in texts]
    tuned.predict(examples[:BATCH_SIZE])
    started = time.perf_counter()
    predictions = tuned.predict(examples)
    return time.perf_counter() - started, [p.raw or "" for p in predictions]


def _transformers(settings: Settings, data: Data, texts: list[dict[str, Any]]) -> tuple[float, list[str]]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from semtune.models.tokenizer import load_tokenizer

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[settings.dtype]
    model = AutoModelForCausalLM.from_pretrained(data.model_folder, dtype=dtype)
    model = PeftModel.from_pretrained(model, data.adapter_folder).merge_and_unload().eval()

    @torch.inference_mode()
    def generate(batch: list[dict[str, Any]]) -> list[list[int]]:
        longest = max(len(t["ids"]) for t in batch)
        ids = torch.tensor([[data.eos_id] * (longest - len(t["ids"])) + t["ids"] for t in batch])
        mask = torch.tensor([[0] * (longest - len(t["ids"])) + [1] * len(t["ids"]) for t in batch])
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, use_cache=True,
            eos_token_id=data.eos_id, pad_token_id=data.eos_id,
        )  # fmt: skip
        return out[:, longest:].tolist()

    generate(texts[:BATCH_SIZE])
    batches = as_batches(range(len(texts)), BATCH_SIZE)
    rest = list(range(len(batches) * BATCH_SIZE, len(texts)))
    started = time.perf_counter()
    said = [ids for batch in [*batches, *([rest] if rest else [])] for ids in generate([texts[i] for i in batch])]
    seconds = time.perf_counter() - started
    # Decoded by semtune's tokenizer, outside the clock: what is compared are tokens, not ways of writing them out.
    tokenizer = load_tokenizer(Path(data.model_folder), int(model.config.get_text_config().vocab_size))
    ends = [ids.index(data.eos_id) if data.eos_id in ids else len(ids) for ids in said]
    return seconds, [tokenizer.decode(ids[:end]) for ids, end in zip(said, ends, strict=True)]


if __name__ == "__main__":
    run_program(main)
