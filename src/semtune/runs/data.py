"""The data of a run: its task's splits, checked, and which texts they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semtune.contracts import Task
from semtune.errors import DataError
from semtune.records import Example, Overlap, RunSpec, TargetSpace
from semtune.registry import TASKS
from semtune.runs.fingerprints import data_fingerprint
from semtune.runs.folds import fold_notes, train_and_dev
from semtune.runs.watch import SELECTION_SPLIT
from semtune.tasks.overlap import check_overlaps, overlaps

FINAL_SPLITS = ("dev", "test")


@dataclass(frozen=True)
class RunData:
    """A task and its splits. `final`: those predicted at the end, by name; "test" may be unlabelled or empty.

    Of a run of one fold of a cross-validation, train and dev are as the fold has them, and "test" is empty.
    """

    task: Task
    train: list[Example]
    dev: list[Example]
    final: dict[str, list[Example]]
    overlaps: tuple[Overlap, ...]
    """Between the splits as this run has them."""
    fingerprint: str
    """See `fingerprints.data_fingerprint`."""
    fold_notes: tuple[str, ...] = ()
    """See `folds.fold_notes`; () without a fold."""


def load_data(spec: RunSpec) -> RunData:
    """The data of a resolved spec. Raises DataError.

    Train and dev must be labelled and not empty, and little of test may be in another split if it is predicted.
    """
    task: Task = TASKS.get(spec.task)(spec.task_options)
    training, dev = task.load("train"), task.load(SELECTION_SPLIT)
    for split, examples in (("train", training), (SELECTION_SPLIT, dev)):
        if not examples:
            raise DataError(f"The {split} split of {spec.task} is empty; training needs it.")
        unlabelled = next((e.id for e in examples if e.target is None), None)
        if unlabelled is not None:
            raise DataError(f"The {split} split of {spec.task} has no labels for {unlabelled}; training needs them.")
    final = {split: task.load(split) for split in FINAL_SPLITS}
    splits = {**final, "train": training}
    fingerprint = fingerprint_of(task, splits)
    if spec.fold is None:
        found = checked_overlaps(task, splits, allowed=spec.allow_overlap)
        return RunData(task, training, dev, final, found, fingerprint)
    training, dev = train_and_dev(spec.fold, training, dev)
    held = {"train": training, SELECTION_SPLIT: dev}
    notes = fold_notes(spec.fold, task, training, dev)
    return RunData(task, training, dev, {SELECTION_SPLIT: dev}, overlaps(held), fingerprint, notes)


def checked_overlaps(task: Task, splits: Mapping[str, Sequence[Example]], *, allowed: bool) -> tuple[Overlap, ...]:
    """The texts that two splits share. Raises DataError: too many of them, and not `allowed`."""
    found = overlaps(splits)
    if not allowed:
        check_overlaps(found, splits, getattr(task, "made_splits", ()))  # a plugin's task may not say
    return found


def fingerprint_of(task: Task, splits: Mapping[str, Sequence[Example]]) -> str:
    """The data fingerprint of a task with all its splits."""
    return data_fingerprint(TargetSpace(task.target_kind, task.labels), splits)
