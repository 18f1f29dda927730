"""Log-likelihoods of every label as an answer, for each of N texts.

Variants: one-by-one (a forward per text and label as lm-evaluation-harness does it: all pairs sorted by length, the
longest first, batches of 16, padded on the right, logits of all positions, log-softmax over them, the completion's
entries summed) and ours (`semtune.generation.loglikelihood`). Likelihoods are printed for few texts, so that the
bench can compare. Source: `_loglikelihood_tokens` of
https://github.com/EleutherAI/lm-evaluation-harness/blob/v0.4.9/lm_eval/models/huggingface.py.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.contestants.common import Data, Settings, read_data, run_program

BATCH_SIZE = 16
SHOWN_TEXTS = 4


def main(settings: Settings) -> dict[str, Any]:
    """Texts a second of one variant, each scored with all labels."""
    import torch

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    prompts = [t["ids"] for t in (data.test[: settings.texts] if settings.texts else data.test)]
    score = {"ours": _ours, "one-by-one": _one_by_one}[settings.variant](settings, data)
    score(prompts[:1])
    started = time.perf_counter()
    values = score(prompts)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "texts": len(prompts),
        "labels": len(data.label_completions),
        "texts_per_second": len(prompts) / seconds,
        "log_likelihoods": values[:SHOWN_TEXTS],
        "dtype": settings.dtype,
    }


def _ours(settings: Settings, data: Data) -> Any:
    from semtune.generation.loglikelihood import loglikelihood
    from semtune.models.loading import load

    loaded = load("default", precision=settings.dtype)
    loaded.model.requires_grad_(False)
    loaded.prepack_frozen(backward=False, memory_bytes=0)
    return lambda prompts: loglikelihood(loaded, prompts, data.label_completions).tolist()


def _one_by_one(settings: Settings, data: Data) -> Any:
    import torch
    from torch.nn import functional as F
    from transformers import AutoModelForCausalLM

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[settings.dtype]
    model = AutoModelForCausalLM.from_pretrained(Path(data.model_folder), dtype=dtype).eval()

    @torch.inference_mode()
    def score(prompts: list[list[int]]) -> list[list[float]]:
        completions = data.label_completions
        values = [[0.0] * len(completions) for _ in prompts]
        pairs = [(t, c, p + completion) for t, p in enumerate(prompts) for c, completion in enumerate(completions)]
        pairs.sort(key=lambda pair: -len(pair[2]))
        for start in range(0, len(pairs), BATCH_SIZE):
            batch = pairs[start : start + BATCH_SIZE]
            longest = max(len(ids) for _, _, ids in batch) - 1
            # No mask: attention is causal and the padding stands on the right.
            inputs = torch.tensor([ids[:-1] + [data.eos_id] * (longest + 1 - len(ids)) for _, _, ids in batch])
            chances = F.log_softmax(model(inputs).logits, dim=-1)  # (batch, longest, vocabulary)
            for row, (text, label, ids) in enumerate(batch):
                said = completions[label]
                places = chances[row, len(ids) - 1 - len(said) : len(ids) - 1]  # (completion, vocabulary)
                values[text][label] = float(places.gather(1, torch.tensor(said)[:, None]).sum())
        return values

    return score


if __name__ == "__main__":
    run_program(main)
