"""The content of `study.json` as records, each value of the kind and within the bounds that its record declares."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import Any

from semtune.errors import DataError
from semtune.records import LeaderboardEntry, Metric, Overlap, RunResult, Scores
from semtune.records.checking import check_record, check_value
from semtune.records.scores import checked_scores, leaderboard_entry_from, metrics_from
from semtune.records.study_file import BaselineEntry, StudyFile, SweepEntry
from semtune.runs.folder import result_from
from semtune.specs import record_from

ADVICE = "correct it, or run the study again"


@dataclass(frozen=True, slots=True)
class CheckedStudy:
    """The records of a study."""

    runs: tuple[RunResult, ...]
    baselines: tuple[Mapping[str, Any], ...]
    """The JSON form of each `BaselineEntry`."""
    baseline_scores: tuple[Mapping[str, Scores], ...]
    """Of each baseline, by split."""
    leaderboard: tuple[LeaderboardEntry, ...]
    metrics: tuple[Metric, ...]
    overlaps: tuple[Overlap, ...]


def checked_study(study: Mapping[str, Any], where: str) -> CheckedStudy:
    """The records in the content of `study.json`; `where` names the file in messages.

    Raises DataError; UnknownNameError for a key that a run's result does not have.
    """
    check_record(StudyFile, study, where, ADVICE)
    metrics = metrics_from(study.get("metrics"))
    runs = [result_from(run, f"run {i} of {where}", metrics) for i, run in enumerate(study["runs"], start=1)]
    for number, run in enumerate(runs, start=1):
        _check_place(run.out, f"run {number} of {where}")
    _check_once([_identities(run) for run in runs], [_run_name(run) for run in runs], "runs", where)
    baselines, scores = tuple(study.get("baselines") or ()), []
    for number, entry in enumerate(baselines, start=1):
        name = f"baseline {number} of {where}"
        check_record(BaselineEntry, entry, name, ADVICE)
        scores.append(checked_scores(entry.get("scores"), name, metrics))
    names = [entry["name"] for entry in baselines]
    _check_once([[name] for name in names], names, "baselines", where)
    _check_once([[metric.name] for metric in metrics], [metric.name for metric in metrics], "metrics", where)
    board = tuple(map(leaderboard_entry_from, study.get("leaderboard") or ()))
    for number, team in enumerate(board):
        for metric in metrics:
            if metric.name in team.scores:
                value, path = team.scores[metric.name], f"leaderboard[{number}].{metric.name}"
                check_value(metric.hint, value, where, path, advice=ADVICE)
    if study.get("sweep"):
        _check_sweep(study["sweep"], metrics[0], f'{where}: "sweep"')
    shared = tuple(record_from(Overlap, o, "a study's overlap") for o in study.get("overlaps") or ())
    return CheckedStudy(tuple(runs), baselines, tuple(scores), board, metrics, shared)


def _check_once(identities: Sequence[Sequence[Hashable]], names: Sequence[str], what: str, where: str) -> None:
    """Raises DataError for two of the `what` that have an identity in common: joined by hand, a record stands twice.

    A mean would count it as two, and its interval would be too narrow.
    """
    first: dict[Hashable, int] = {}
    for number, (found, name) in enumerate(zip(identities, names, strict=True), start=1):
        for identity in found:
            if identity in first:
                raise DataError(
                    f"{where} holds {name} twice, as {what} {first[identity]} and {number}; delete one of them, or run "
                    "the study again."
                )
        first |= dict.fromkeys(found, number)


def _identities(run: RunResult) -> list[Hashable]:
    """What no two runs of a study have in common: an id, and a seed beside the same choices and options."""
    choices = (run.approach, run.name, run.method, run.readout, run.answer, run.model, run.prompt, run.preset, run.seed)
    return [(*choices, run.spec_fingerprint), *([run.run_id] if run.run_id is not None else [])]


def _run_name(run: RunResult) -> str:
    named = (run.name or run.method, run.readout or run.answer, run.model, run.prompt)
    return f"the run {', '.join(filter(None, named))}, seed {run.seed},"


def _check_sweep(sweep: Any, metric: Metric, where: str) -> None:
    """Raises DataError for what is no sweep, and for a score that the metric cannot have."""
    check_record(SweepEntry, sweep, where, ADVICE)
    for r, row in enumerate(sweep["rows"]):
        for t, trial in enumerate(row["trials"]):
            for n, run in enumerate(trial["runs"]):
                path = f"rows[{r}].trials[{t}].runs[{n}].score"
                check_value(metric.hint | None, run["score"], where, path, advice=ADVICE)


def _check_place(out: str | None, where: str) -> None:
    """Raises DataError for a run folder that is not within the study's."""
    if out is None:
        return
    parts = {*PurePath(out).parts, *PureWindowsPath(out).parts}
    if "\0" in out or ".." in parts or PurePath(out).is_absolute() or PureWindowsPath(out).is_absolute():
        raise DataError(f'{where} is broken ("out" must be a folder within the study\'s); {ADVICE}.')
