"""The run folder: what a run leaves behind, and how it is written so that nothing is ever half there.

spec.yaml                   everything needed to run again
data/                       the texts of a run that was started from Python with texts in memory; never removed here
environment.json            versions, processor, threads
labels.json                 label space and kind of answer: predicting needs no data
metrics.jsonl               one line a step and one an epoch, as it goes
checkpoints/best/           the best weights so far, whole at every instant; moved to adapter/ at the end
adapter/                    what was trained (PEFT's file format for adapters), and the readout's own parameters
predictions-<split>.json    the task's submission format
result.json                 written once, at the end
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from semtune.contracts import AnswerKind
from semtune.errors import DataError, ModelError, OutputError
from semtune.records import LabelScore, RunResult, Scores, to_plain
from semtune.specs.resolve import check_writable, record_from

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
        self.result = path / "result.json"

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> RunFolder:
        """A folder ready for a new run.

        Raises:
            OutputError: it cannot be written, holds other things, or holds a tuned model (finished, or kept by a run
                that was killed) and `overwrite` is False. Nothing was removed then.
        """
        folder = cls(path)
        try:
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path} is a file; choose a folder with --out.")
            occupied = path.is_dir() and any(child.name != DATA for child in path.iterdir())
            if occupied and not folder.spec.exists():
                raise OutputError(f"{path} holds files that are not a run; choose an empty folder with --out.")
            if folder.weights() is not None and not overwrite:
                raise OutputError(f"{path} holds a tuned model; choose another --out, or replace it with --overwrite.")
            check_writable(path)
            if occupied:
                folder._clear()
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}); choose another folder with --out."
            ) from error
        return folder

    def predictions(self, split: str) -> Path:
        """Where a split's predictions go."""
        return self.path / f"predictions-{split}.json"

    def weights(self) -> Path | None:
        """Where this run's weights are: adapter/, or checkpoints/best/ of a run that was killed; None: it kept none."""
        return next((folder for folder in (self.adapter, self.best) if folder.exists()), None)

    def _clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for file in (self.spec, self.environment, self.labels, self.metrics, self.result):
            file.unlink(missing_ok=True)
        for file in self.path.glob("predictions-*.json"):
            file.unlink()
        for folder in (self.best.parent, self.adapter):
            if folder.exists():
                shutil.rmtree(folder)

    def keep_best(self, save: Callable[[Path], None]) -> None:
        """What `save` writes to the folder it is given becomes checkpoints/best/.

        An interruption while it writes leaves the old one as it was, never parts of two.
        """
        draft, former = self.best.with_name("draft"), self.best.with_name("former")
        for folder in (draft, former):
            shutil.rmtree(folder, ignore_errors=True)
        save(draft)
        if self.best.exists():
            self.best.replace(former)
        draft.replace(self.best)
        shutil.rmtree(former, ignore_errors=True)

    def promote_best(self) -> None:
        """checkpoints/best/ becomes adapter/."""
        self.best.replace(self.adapter)
        shutil.rmtree(self.best.parent, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(to_plain(value), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def read_json(path: Path, what: str) -> Any:
    """Read JSON. Raises DataError, with `what` the file should have been."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no {what} at {path}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} should be {what}, but is not readable JSON ({error}).") from error


def write_labels(folder: RunFolder, labels: Sequence[str], answer: AnswerKind) -> None:
    """`labels.json`."""
    write_json(folder.labels, {"answer": answer, "labels": list(labels)})


def read_labels(folder: RunFolder) -> tuple[tuple[str, ...], AnswerKind]:
    """The label space and kind of answer of a run. Raises ModelError."""
    try:
        value = read_json(folder.labels, "a run's labels")
        return tuple(value["labels"]), cast("AnswerKind", value["answer"])
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
        plain = dict(value)
        plain["scores"] = {split: scores_from(s) for split, s in plain.get("scores", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} does not hold the result of a run ({error!r}).") from error
    return record_from(RunResult, plain, where)


def scores_from(value: Mapping[str, Any]) -> Scores:
    """A Scores from its JSON form."""
    per_label = {label: LabelScore(**score) for label, score in value.get("per_label", {}).items()}
    return Scores(
        micro_f1=float(value["micro_f1"]),
        macro_f1=float(value["macro_f1"]),
        parse_failures=float(value["parse_failures"]),
        per_label=per_label,
        examples=int(value["examples"]),
    )
