"""Cross-validation on train and dev together: what a run of one fold trains on, and what is its dev split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from semtune.records import Example
from semtune.specs.folds import fold_numbers
from semtune.tasks.splits import make_folds

SEED = 0
"""Of the division into folds: the same for all runs, so that what is compared is compared on the same folds."""


def train_and_dev(fold: str, train: Sequence[Example], dev: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """The splits of the fold "NUMBER/COUNT": its part of all examples as dev, the others as train.

    Ids that both splits have get their split's name in front, as they would be the same example's otherwise.
    Raises OptionError, DataError.
    """
    number, count = fold_numbers(fold)
    parts = make_folds(_joined(train, dev), count, SEED)
    held_out = parts.pop(number - 1)
    return [example for part in parts for example in part], held_out


def _joined(train: Sequence[Example], dev: Sequence[Example]) -> list[Example]:
    """The examples of both splits, with ids that differ between them."""
    shared = {e.id for e in train} & {e.id for e in dev}
    named = (("train", train), ("dev", dev))
    return [replace(e, id=f"{split}:{e.id}") if e.id in shared else e for split, examples in named for e in examples]
