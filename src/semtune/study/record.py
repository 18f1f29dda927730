"""`study.json`: written anew after every run, and never poorer than the one before until its successor is whole.

While a study is under way, what an earlier call has measured and this one has not yet stays in the record, with a
remark that says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semtune.errors import OutputError, SemtuneError
from semtune.records import RunResult, to_plain
from semtune.records.checking import check_record
from semtune.records.study_file import BaselineEntry
from semtune.runs.folder import read_json, write_json
from semtune.runs.outcome import unmeasured
from semtune.study.driving import Job

FORMAT = 1
FILE = "study.json"
BASELINE_FIGURES = (
    "status", "reason", "load_seconds", "train_seconds", "predict_seconds", "predict_examples_per_second",
    "runtime_bytes", "peak_bytes", "kept_from",
)  # fmt: skip
"""Fields of a baseline's result that its entry has beside name, scores and note."""
_IDENTITY = ("approach", "name", "model", "method", "prompt", "readout", "preset", "seed", "answer")


class StudyRecord:
    """The content of `study.json` as runs end."""

    def __init__(
        self, out: Path, plain: dict[str, Any], jobs: Sequence[Job], baseline_notes: Mapping[str, str | None]
    ) -> None:
        """
        Args:
            out: the study's folder.
            plain: the record's fields but "runs" and "baselines".
            jobs: every run, baselines first, in the order of the record.
            baseline_notes: by name, why a baseline does not apply; None: it does.

        Raises OutputError: `out` has the record of another task, or of another format.
        """
        self._out, self.plain = out, plain
        self._baselines = {str(job.spec.baseline): job for job in jobs if job.spec.approach == "baseline"}
        self._runs = [job for job in jobs if job.spec.approach != "baseline"]
        self._notes = baseline_notes
        self._results: dict[Path, tuple[RunResult, str | None]] = {}
        self._former_runs, self._former_baselines = _former(out / FILE, str(plain["task"]))

    def add(self, job: Job, result: RunResult, out: str | None) -> None:
        """Record the result of a run that lies in the folder `out` of the study's; None: none of its files is left."""
        self._results[job.folder] = (result, out)

    def write(self, *, whole: bool = False) -> None:
        """Write what is known. `whole`: the study has ended, so nothing of earlier calls stays. Raises OutputError."""
        known = {job.folder for job in (*self._baselines.values(), *self._runs) if job.folder in self._results}
        baselines, runs = [], []
        for name, note in self._notes.items():
            job = self._baselines.get(name)
            if note is not None or (job is not None and job.folder in known):
                baselines.append(_baseline_entry(name, note, self._results[job.folder][0] if job is not None else None))
            elif name in self._former_baselines and not whole:
                baselines.append(self._former_baselines[name])
        former_names = [name for name in self._former_baselines if name not in self._notes]
        baselines += [] if whole else [self._former_baselines[name] for name in former_names]
        former = dict(self._former_runs)
        for job in self._runs:
            before = former.pop(_identity(to_plain(unmeasured(job.spec, "failed"))), None)
            if job.folder in known:
                result, out = self._results[job.folder]
                runs.append({**to_plain(result), "out": out})
            elif before is not None and not whole:
                runs.append(before)
        runs += [] if whole else former.values()
        self.plain |= {"runs": runs, "baselines": baselines}
        write_json(self._out / FILE, self.plain)


def check_same_study(out: Path, task: str) -> None:
    """Raises OutputError where the folder `out` has the record of another task, or of another format."""
    _former(out / FILE, task)


def _former(file: Path, task: str) -> tuple[dict[tuple[Any, ...], dict[str, Any]], dict[str, dict[str, Any]]]:
    """The runs, by what tells them apart, and the baselines, by name, of an earlier record. Raises OutputError."""
    try:
        plain = read_json(file, "a study's record")
        found, format_ = str(plain["task"]), plain["format"]
    except (SemtuneError, KeyError, TypeError):
        return {}, {}
    if found != task or format_ != FORMAT:
        what = f"of the task {found}" if found != task else "of another version of semtune"
        raise OutputError(f"{file.parent} holds a study {what}; choose another folder with --out.")
    remark = {"kept_from": "from an earlier call of this study, whose data or options may be other ones; not run again"}
    runs = {_identity(row): {**row, **remark} for row in _readable(plain.get("runs"), RunResult)}
    return runs, {str(row["name"]): {**row, **remark} for row in _readable(plain.get("baselines"), BaselineEntry)}


def _readable(rows: Any, cls: type[Any]) -> list[dict[str, Any]]:
    """Those of the rows of an earlier record that are the JSON form of `cls`; the others are run again."""
    found = []
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(SemtuneError):
            check_record(cls, row, FILE)
            found.append(row)
    return found


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in _IDENTITY)


def _baseline_entry(name: str, note: str | None, result: RunResult | None) -> dict[str, Any]:
    """A baseline in `study.json`: name, scores and note, and the figures of its run where it had one."""
    if result is None:
        return {"name": name, "scores": {}, "note": note}
    plain = to_plain(dataclasses.replace(result, scores=result.scores if result.status == "ok" else {}))
    figures = {field: plain[field] for field in BASELINE_FIGURES}
    failure = None if result.status == "ok" else f"{result.status.replace('_', ' ')}: {result.reason}"
    return {"name": name, "scores": plain["scores"], "note": failure, **figures}
