"""The run folder: the files of a run, each written whole or not at all.

spec.yaml                   everything needed to run again
data/                       the texts of a run that was started from Python with texts in memory; never removed here
environment.json            versions, processor, threads
labels.json                 label space and kind of target: predicting needs no data
metrics.jsonl               one line per step and per epoch, written during training (approaches that have steps)
checkpoints/best/           the best state so far, always complete; moved to one of the next two at the end
adapter/                    a tuned model's weights (PEFT's file format for adapters), and the readout's own parameters
fitted/                     what a baseline or a prompting strategy has learnt
transcripts.jsonl           prompts and completions of a prompted model, one line per example
predictions-<split>.json    the task's submission format
result.json                 written once, at the end
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from semtune.errors import DataError, ModelError, OutputError
from semtune.records import RunResult, TargetKind, TargetSpace, to_plain
from semtune.records.scores import scores_from
from semtune.runtime import files
from semtune.specs import check_writable, record_from

DATA = "data"
"""Folder, within a run's or a study's, of texts that were given from Python."""


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "spec.yaml"
        self.environment = path / "environment.json"
        self.labels = path / "labels.json"
        self.metrics = path / "metrics.jsonl"
        self.best = path / "checkpoints" / "best"
        self.adapter = path / "adapter"
        self.fitted = path / "fitted"
        self.transcripts = path / "transcripts.jsonl"
        self.result = path / "result.json"

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> RunFolder:
        """A folder ready for a new run.

        Raises:
            OutputError: it cannot be written, contains other files, or contains a fitted approach (finished, or from
                a run that was killed) and `overwrite` is False. Nothing was removed then.
        """
        folder = cls(path)
        try:
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path} is a file; choose a folder with --out.")
            occupied = path.is_dir() and any(child.name != DATA for child in path.iterdir())
            if occupied and not folder.spec.exists():
                raise OutputError(f"{path} holds files that are not a run; choose an empty folder with --out.")
            if folder.kept() is not None and not overwrite:
                raise OutputError(f"{path} holds a finished run; choose another --out, or replace it with --overwrite.")
            check_writable(path)
            if occupied:
                folder._clear()
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}); choose another folder with --out."
            ) from error
        return folder

    def predictions(self, split: str) -> Path:
        """The file of a split's predictions."""
        return self.path / f"predictions-{split}.json"

    def kept(self) -> Path | None:
        """The fitted state: adapter/, fitted/, or checkpoints/best/ of a run that was killed; None: there is none."""
        return next((folder for folder in (self.adapter, self.fitted, self.best) if folder.exists()), None)

    def finished(self) -> bool:
        """Whether a run has ended here, with a result and a fitted state."""
        return self.result.exists() and self.spec.exists() and self.kept() in (self.adapter, self.fitted)

    def _clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for file in (self.spec, self.environment, self.labels, self.metrics, self.result, self.transcripts):
            file.unlink(missing_ok=True)
        for file in self.path.glob("predictions-*.json"):
            file.unlink()
        for folder in (self.best.parent, self.adapter, self.fitted):
            if folder.exists():
                shutil.rmtree(folder)

    def keep_best(self, save: Callable[[Path], None]) -> None:
        """Replace checkpoints/best/ by what `save` writes to the folder that it receives.

        An interruption while `save` writes leaves the old state untouched.
        """
        draft, former = self.best.with_name("draft"), self.best.with_name("former")
        for folder in (draft, former):
            shutil.rmtree(folder, ignore_errors=True)
        save(draft)
        if self.best.exists():
            self.best.replace(former)
        draft.replace(self.best)
        shutil.rmtree(former, ignore_errors=True)

    def promote_best(self, name: str) -> None:
        """Move checkpoints/best/ to the folder `name` ("adapter", "fitted")."""
        self.best.replace(self.path / name)
        shutil.rmtree(self.best.parent, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a record as JSON, whole or not at all. Raises OutputError."""
    files.write_json(path, to_plain(value))


def read_json(path: Path, what: str) -> Any:
    """Read JSON. Raises DataError, with `what` the file should have been."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no {what} at {path}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} should be {what}, but is not readable JSON ({error}).") from error


def write_labels(folder: RunFolder, space: TargetSpace) -> None:
    """`labels.json`: the kind of target under "answer", the labels under "labels"."""
    write_json(folder.labels, {"answer": space.kind, "labels": list(space.labels)})


def read_labels(folder: RunFolder) -> TargetSpace:
    """The kind of target and the labels of a run. Raises ModelError."""
    try:
        value = read_json(folder.labels, "a run's labels")
        if value["answer"] not in get_args(TargetKind):
            raise TypeError(value["answer"])
        return TargetSpace(cast("TargetKind", value["answer"]), tuple(value["labels"]))
    except (DataError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder.path} is not the folder of a tuned model; give the folder that `semtune tune --out` wrote."
        ) from error


def read_result(path: Path) -> RunResult:
    """`result.json` as a record. Raises DataError."""
    return result_from(read_json(path, "a run's result"), str(path))


def result_from(value: Mapping[str, Any], where: str) -> RunResult:
    """A RunResult from its JSON form. Raises DataError, UnknownNameError, OptionError."""
    try:
        plain = _with_present_status(dict(value))
        plain["scores"] = {split: scores_from(s) for split, s in plain.get("scores", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} does not hold the result of a run ({error!r}).") from error
    return record_from(RunResult, plain, where)


def _with_present_status(plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` with the status "interrupted" where an earlier version wrote "failed" and a reason that says so."""
    if plain.get("status") == "failed" and str(plain.get("reason") or "").startswith("interrupted by the user"):
        plain["status"] = "interrupted"
    return plain
