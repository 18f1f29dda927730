"""What all contestants share: their settings, the data, which batches are timed, and how a result is printed.

Which batches, the same way for every stack:

1. The *reference batch* twice: 8 texts that are the same for all, in size like the mean of random batches. These warm
   up, and the peak of memory is read after them, so that it is that of the same step in every stack.
2. A few warm-up batches of the stack's own order, and the timed batches a first time. The CPU library compiles every
   new size of a product, which a run does once for each size: how much longer this first pass took is counted as often
   as a run of `EPOCHS` epochs meets a new size (`new_size_share`).
3. The timed batches, spread evenly over the sizes of one whole epoch in the stack's own order (at random or grouped by
   length), so that few steps stand for the epoch.

No heavy imports here: `runtime_bytes` of a stack must be its own.
"""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
EPOCHS = 3
"""Of the run that speeds are to stand for, semtune's default."""
REFERENCE_STEPS = 2
"""Of the reference batch; after the first the optimizer's moments exist, so the second one's peak is a usual step's."""
RECIPE = {
    "rank": 8, "alpha": 32.0, "dropout": 0.05, "targets": ("q_proj", "v_proj"), "learning_rate": 2e-4,
    "max_grad_norm": 1.0,
}  # fmt: skip
"""That of every contestant; full tuning trains all weights instead."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a contestant is told."""

    work: str
    """Folder that `prepare` has filled."""
    variant: str
    threads: int
    seed: int = 0
    """Of the order of texts, adapters and dropout; the round's number."""
    batch_size: int = 8
    warmup_steps: int = 1
    """After the reference steps."""
    timed_steps: int = 5
    dtype: str = "bf16"
    """Of prediction, label scoring and the peers of `methods.py`: "bf16" or "fp32"."""
    texts: int = 0
    """Of prediction and label scoring; 0: all."""
    model: str = "default"
    """Of `shape_step`; the others compare on the default model."""
    spec: dict[str, Any] | None = None
    """A run's options, of `plan_cell`."""

    @property
    def total_steps(self) -> int:
        return self.untimed_steps + self.timed_steps

    @property
    def untimed_steps(self) -> int:
        """The reference batches, warm-up, and the timed batches for the first time."""
        return REFERENCE_STEPS + self.warmup_steps + self.timed_steps


@dataclass(frozen=True, slots=True)
class Data:
    """What `prepare` wrote into the work folder."""

    task: str
    data_dir: str | None
    notes: list[str]
    model_folder: str
    """The default model in transformers' format."""
    adapter_folder: str
    """A LoRA adapter in PEFT's format, so that answers end by themselves; its run's options stand beside it."""
    eos_id: int
    labels: list[str]
    answer: str
    texts: list[dict[str, Any]]
    """The training split: id, ids (prompt + completion + end-of-sequence), prompt_length."""
    test: list[dict[str, Any]]
    """Unlabelled: id, text, ids of the prompt."""
    label_completions: list[list[int]]
    """Each label as an answer of its own, end-of-sequence included."""

    def lengths(self) -> list[int]:
        """Real tokens of each training text."""
        return [len(text["ids"]) for text in self.texts]


def read_data(work: str | Path) -> Data:
    """What `prepare` wrote."""
    return Data(**json.loads((Path(work) / "data.json").read_text(encoding="utf-8")))


def new_size_share(epochs: Sequence[Sequence[Sequence[int]]], size: Callable[[Sequence[int]], object]) -> float:
    """Of all batches of a run's epochs, the share that have a size which no batch before them had."""
    sizes = [size(batch) for batches in epochs for batch in batches]
    return len(set(sizes)) / len(sizes)


def as_batches(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Full batches of `order`; a smaller last one is left out, for every stack alike."""
    whole = len(order) - len(order) % batch_size
    return [list(order[start : start + batch_size]) for start in range(0, whole, batch_size)]


def reference_batch(lengths: Sequence[int], batch_size: int) -> list[int]:
    """Of the batches of one fixed random order, the one nearest to their means of real and of padded tokens."""
    order = list(range(len(lengths)))
    random.Random("reference").shuffle(order)
    batches = as_batches(order, batch_size)
    sizes = [(sum(lengths[i] for i in b), padded_tokens(lengths, b)) for b in batches]
    real, padded = (sum(column) / len(sizes) for column in zip(*sizes, strict=True))
    return min(
        zip(batches, sizes, strict=True), key=lambda pair: abs(pair[1][0] / real - 1) + abs(pair[1][1] / padded - 1)
    )[0]


def random_epochs(lengths: Sequence[int], settings: Settings) -> list[list[list[int]]]:
    """The batches of `EPOCHS` epochs in random order, the Trainer's default; the same for every stack of one seed."""
    epochs = []
    for number in range(EPOCHS):
        order = list(range(len(lengths)))
        random.Random(EPOCHS * settings.seed + number).shuffle(order)
        epochs.append(as_batches(order, settings.batch_size))
    return epochs


def same_batches(lengths: Sequence[int], settings: Settings) -> list[list[int]]:
    """The batches of all steps where every stack runs the same ones, `settings.total_steps` of them.

    The reference batch, warm-up and timed batches are of a random epoch, spread over its padded sizes; the timed ones
    come twice.
    """
    epoch = random_epochs(lengths, settings)[0]

    def chosen(count: int) -> list[list[int]]:
        return spread(epoch, lambda batch: padded_tokens(lengths, batch), count, settings.seed)

    timed = chosen(settings.timed_steps)
    reference = [reference_batch(lengths, settings.batch_size)] * REFERENCE_STEPS
    return [*reference, *chosen(settings.warmup_steps), *timed, *timed]


def padded_tokens(lengths: Sequence[int], batch: Sequence[int]) -> int:
    """Tokens of a batch when every text is as long as its longest."""
    return len(batch) * max(lengths[i] for i in batch)


def spread(batches: Sequence[T], size: Callable[[T], int], count: int, seed: int) -> list[T]:
    """`count` of `batches` at evenly spaced quantiles of their sizes, in random order."""
    ranked = sorted(batches, key=size)
    chosen = [ranked[int((i + 0.5) * len(ranked) / count)] for i in range(count)]
    random.Random(seed).shuffle(chosen)
    return chosen


def run_program(main: Callable[[Settings], dict[str, Any]]) -> None:
    """Read the settings from the command line, run, print one JSON object last; exit status 1 on a failure."""
    known = {f.name for f in fields(Settings)}
    given = json.loads(sys.argv[1])
    settings = Settings(**{name: value for name, value in given.items() if name in known})
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        result = main(settings)
    except Exception as error:  # noqa: BLE001 - a contestant that fails is a row of the table, whatever it raises
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [""])[0]
        result = {"error": f"{type(error).__name__}: {reason}"}
    sys.stdout.flush()
    print(json.dumps(result))
    sys.exit(1 if "error" in result else 0)
