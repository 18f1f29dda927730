"""Cross-validation on train and dev together: what a run of one fold trains on, and what is its dev split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from semtune.contracts import Task
from semtune.records import Example
from semtune.specs.folds import fold_numbers
from semtune.tasks.overlap import overlaps
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


def fold_notes(fold: str, task: Task, train: Sequence[Example], dev: Sequence[Example]) -> tuple[str, ...]:
    """What a fold's `train` and `dev` are, and which rows that belong together it divides."""
    return (
        f"fold {fold} of train and dev together: {len(train):,} texts to train on, {len(dev):,} held out as dev; test "
        "is not used",
        *group_notes(task),
    )


def group_notes(task: Task) -> tuple[str, ...]:
    """Which rows of a task belong together and are divided by folds."""
    return tuple(getattr(task, "group_notes", ()))  # a plugin's task may not say


def shared_texts_notes(train: Sequence[Example], dev: Sequence[Example], count: int) -> tuple[str, ...]:
    """A sentence about texts of one fold that are in another one, the same or nearly so; () where there are none."""
    divided = [train_and_dev(f"{number}/{count}", train, dev) for number in range(1, count + 1)]
    found = [o for kept, held_out in divided for o in overlaps({"train": kept, "dev": held_out})]
    if not found:
        return ()
    shared = sum(overlap.exact + overlap.near for overlap in found)
    first = next(overlap.instance for overlap in found if overlap.instance)
    return (
        f"{shared:,} of {len(train) + len(dev):,} texts of train and dev are also in another fold, the same or nearly "
        f"so ({first[0]} is {first[1]}): values are compared in part on texts that were trained on",
    )


def _joined(train: Sequence[Example], dev: Sequence[Example]) -> list[Example]:
    """The examples of both splits, with ids that differ between them."""
    shared = {e.id for e in train} & {e.id for e in dev}
    named = (("train", train), ("dev", dev))
    return [replace(e, id=f"{split}:{e.id}") if e.id in shared else e for split, examples in named for e in examples]
