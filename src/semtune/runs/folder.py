"""The run folder: the files of a run, each written whole or not at all.

spec.yaml                   everything needed to run again
data/                       the texts of a run that was started from Python with texts in memory; never removed here
environment.json            versions, processor, threads
labels.json                 label space and kind of target: predicting needs no data
metrics.jsonl               one line per step and per epoch, written during training (approaches that have steps)
checkpoints/best/           the best state so far, always complete; moved to one of the next two at the end
checkpoints/former/         the best state before, while the next one takes its place
adapter/                    a tuned model's weights (PEFT's file format for adapters), and the readout's own parameters
fitted/                     what a baseline or a prompting strategy has learnt
transcripts.jsonl           prompts, completions and thoughts of a prompted model, one line per example
predictions-<split>.json    the task's submission format
result.json                 written once, at the end
successor/                  the run folder of the run that shall replace this one, or that failed to: `runs.succession`
accepted/                   a successor that has replaced this run, until its files are moved up; readers read it
.lock, .lock-holder.json    while a run is under way: see `runs.lock`
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.errors import DataError, ModelError, first_line
from semtune.records import Metric, RunResult, TargetKind, TargetSpace, to_plain
from semtune.records.checking import ADVICE, check_record
from semtune.records.scores import checked_scores
from semtune.runtime import files
from semtune.specs import record_from

DATA = "data"
"""Folder, within a run's or a study's, of texts that were given from Python."""
ACCEPTED = "accepted"


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path, replaces: Path | None = None) -> None:
        """`replaces`: the folder of the run that this one takes the place of once it has ended well."""
        self.path, self.replaces = path, replaces
        self.spec = path / "spec.yaml"
        self.environment = path / "environment.json"
        self.labels = path / "labels.json"
        self.metrics = path / "metrics.jsonl"
        self.best = path / "checkpoints" / "best"
        self.former = path / "checkpoints" / "former"
        self.adapter = path / "adapter"
        self.fitted = path / "fitted"
        self.transcripts = path / "transcripts.jsonl"
        self.result = path / "result.json"

    @property
    def home(self) -> Path:
        """The folder that the user named."""
        return self.replaces or self.path

    @classmethod
    def current(cls, path: Path) -> RunFolder:
        """The run to read in the folder `path`: its own, or an accepted successor that was not moved up yet.

        Raises PathError.
        """
        files.check_path(path)
        accepted = cls(path / ACCEPTED)
        return accepted if accepted.spec.exists() else cls(path)

    def where(self, *, ok: bool) -> str:
        """Where the run lies after its end, from the folder around the one that the user named: "run/successor"."""
        name = self.home.resolve().name
        return name if ok or self.replaces is None else f"{name}/{self.path.name}"

    def predictions(self, split: str) -> Path:
        """The file of a split's predictions."""
        return self.path / f"predictions-{split}.json"

    def kept(self) -> Path | None:
        """The fitted state: adapter/, fitted/, or a checkpoint of a run that was killed; None: there is none."""
        states = (self.adapter, self.fitted, self.best, self.former)
        return next((folder for folder in states if folder.exists()), None)

    def finished(self) -> bool:
        """Whether a run has ended here, with a result and a fitted state."""
        return self.result.exists() and self.spec.exists() and self.kept() in (self.adapter, self.fitted)

    def keep_best(self, save: Callable[[Path], None]) -> None:
        """Replace checkpoints/best/ by what `save` writes to the folder that it receives.

        Whatever ends the process, and wherever: checkpoints/best/ or checkpoints/former/ is a complete state.
        """
        draft = self.best.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        if self.former.exists():  # an earlier call ended between its renames
            if self.best.exists():
                shutil.rmtree(self.former)
            else:
                files.replace(self.former, self.best)
        save(draft)
        if self.best.exists():
            files.replace(self.best, self.former)
        try:
            files.replace(draft, self.best)
        except BaseException:
            if self.former.exists() and not self.best.exists():
                files.replace(self.former, self.best)
            raise
        shutil.rmtree(self.former, ignore_errors=True)

    def promote_best(self, name: str) -> None:
        """Move checkpoints/best/ to the folder `name` ("adapter", "fitted")."""
        files.replace(self.best, self.path / name)
        shutil.rmtree(self.best.parent, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a record as JSON, whole or not at all. Raises OutputError."""
    files.write_json(path, to_plain(value))


def read_json(path: Path, what: str) -> Any:
    """Read JSON. Raises DataError, with `what` the file should have been."""
    try:
        return files.read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"There is no {what} at {path}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} should be {what}, but is not readable JSON ({first_line(error)}).") from error


@dataclass(frozen=True)
class _Labels:
    """The content of `labels.json`."""

    answer: TargetKind
    labels: tuple[str, ...]


def write_labels(folder: RunFolder, space: TargetSpace) -> None:
    """`labels.json`: the kind of target under "answer", the labels under "labels"."""
    write_json(folder.labels, {"answer": space.kind, "labels": list(space.labels)})


def read_labels(folder: RunFolder) -> TargetSpace:
    """The kind of target and the labels of a run. Raises ModelError."""
    try:
        value = read_json(folder.labels, "a run's labels")
        check_record(_Labels, value, str(folder.labels))
        return TargetSpace(value["answer"], tuple(value["labels"]))
    except DataError as error:
        raise ModelError(
            f"{folder.path} is not the folder of a tuned model; give the folder that `semtune tune --out` wrote."
        ) from error


def read_result(path: Path, metrics: Sequence[Metric] = ()) -> RunResult:
    """`result.json` as a record, whose scores are within the bounds of `metrics`. Raises as `result_from` does."""
    return result_from(read_json(path, "a run's result"), str(path), metrics)


def result_from(value: Any, where: str, metrics: Sequence[Metric] = ()) -> RunResult:
    """A RunResult from its JSON form, whose scores are within the bounds of `metrics`.

    Raises DataError; UnknownNameError for a key that a result does not have.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{where} does not hold the result of a run; {ADVICE}.")
    plain = _with_present_status(dict(value))
    check_record(RunResult, plain, where)
    plain["scores"] = checked_scores(plain.get("scores", {}), where, metrics)
    return record_from(RunResult, plain, where)


def _with_present_status(plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` with the status "interrupted" where an earlier version wrote "failed" and a reason that says so."""
    if plain.get("status") == "failed" and str(plain.get("reason") or "").startswith("interrupted by the user"):
        plain["status"] = "interrupted"
    return plain
