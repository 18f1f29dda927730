"""A study's records, read and grouped: what every table and figure is made from.

Runs that differ in nothing but their seed form a group. A figure of a group is the mean over its runs that ended well,
with the sample standard deviation (n - 1 in the denominator) beside it where there are at least two.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semtune.errors import DataError
from semtune.records import LeaderboardEntry, Metric, Overlap, RunResult, Scores
from semtune.report.checked import checked_study
from semtune.runs.folder import read_json
from semtune.runtime.files import check_path

FORMAT = 1
AXES = ("method", "readout", "model", "prompt", "preset")
"""The settings that distinguish groups, the method first."""
STATUS_WORDS = {
    "ok": "ok",
    "does_not_fit": "does not fit",
    "out_of_memory": "does not fit",
    "diverged": "diverged",
    "failed": "failed",
    "interrupted": "interrupted",
}
TestState = Literal["scored", "unlabelled", "missing"]


@dataclass(frozen=True, slots=True)
class Statistic:
    """Mean over `n` runs; `sd` is their sample standard deviation, None for one run."""

    mean: float
    sd: float | None
    n: int


def statistic(values: Iterable[float | None]) -> Statistic | None:
    """The statistic of the values that are not None and finite; None where there is none."""
    found = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not found:
        return None
    return Statistic(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in nothing but their seed."""

    method: str
    readout: str
    """Of a prompted model the way of answering."""
    model: str
    prompt: str
    preset: str
    runs: tuple[RunResult, ...]

    @property
    def ok(self) -> tuple[RunResult, ...]:
        """The runs that ended well: only these are averaged."""
        return tuple(run for run in self.runs if run.status == "ok")

    @property
    def lost(self) -> tuple[RunResult, ...]:
        """The runs that did not end well."""
        return tuple(run for run in self.runs if run.status != "ok")

    @property
    def random_weights(self) -> bool:
        """Whether the model has a published shape and random weights, so that its scores mean nothing."""
        return self.model.startswith("shape:")

    @property
    def generates(self) -> bool:
        """Whether labels are read from generated text, which may fail to parse."""
        return self.readout.startswith("generate") or any(run.approach == "prompted" for run in self.runs)

    def figure(self, get: Callable[[RunResult], float | None]) -> Statistic | None:
        """A figure over the runs that ended well."""
        return statistic(get(run) for run in self.ok)

    def score(self, split: str, metric: Metric) -> Statistic | None:
        """A metric on a split, over the runs that ended well."""
        return self.figure(lambda run: score_of(run.scores, split, metric))

    def parse_failures(self, split: str) -> Statistic | None:
        """The share of completions that did not parse, over the runs that ended well."""
        return self.figure(lambda run: run.scores[split].parse_failures if split in run.scores else None)

    @property
    def trains_nothing(self) -> bool:
        """Whether its runs ended well and had no parameter to train, as prompted ones."""
        return bool(self.ok) and not any(run.trainable_parameters for run in self.ok)

    def peak(self, phase: str) -> Statistic | None:
        """Peak bytes of a phase over the runs that ended well."""
        return self.figure(lambda run: run.peak_bytes.get(phase))

    @property
    def working_peak(self) -> Statistic | None:
        """Peak bytes while training, or while predicting where nothing is trained."""
        return self.peak("evaluate" if self.trains_nothing else "train")

    def planned_peak(self, phase: str) -> Statistic | None:
        """The planned peak bytes of a phase; also of runs that do not fit, of which nothing else is known."""
        return statistic(run.predicted_peak_bytes.get(phase) for run in self.ok or self.runs)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline's scores by split, with its seconds and bytes where the record has them."""

    name: str
    scores: Mapping[str, Scores]
    note: str | None
    """Why there are no scores."""
    train_seconds: float | None = None
    """Seconds of fitting."""
    predict_examples_per_second: float | None = None
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    """Peak bytes by phase, as in a RunResult."""
    kept_from: str | None = None
    """When and where an earlier call measured it, if that differs from the study."""

    def score(self, split: str, metric: Metric) -> Statistic | None:
        """A metric on a split."""
        return statistic([score_of(self.scores, split, metric)])


def score_of(scores: Mapping[str, Scores], split: str, metric: Metric) -> float | None:
    """A metric on a split; None where it is not on record."""
    return scores[split].values.get(metric.name) if split in scores else None


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study's records, typed and grouped."""

    plain: Mapping[str, Any]
    groups: tuple[Group, ...]
    baselines: tuple[Baseline, ...]
    leaderboard: tuple[LeaderboardEntry, ...]
    metrics: tuple[Metric, ...]
    """The task's metrics, the primary one first."""
    varying: tuple[str, ...]
    """The axes beside the method in which groups differ."""
    notes: tuple[str, ...]
    overlaps: tuple[Overlap, ...] = ()
    """Texts that two splits share."""

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.plain["task"])

    @property
    def primary(self) -> Metric:
        """The metric that selects and ranks."""
        return self.metrics[0]

    @property
    def runs(self) -> tuple[RunResult, ...]:
        """Every run."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def constant(self) -> dict[str, str]:
        """The axes beside the method in which no group differs, with their value."""
        values = {axis: {str(getattr(group, axis)) for group in self.groups} - {""} for axis in AXES[1:]}
        return {axis: found.pop() for axis, found in values.items() if axis not in self.varying and found}

    @property
    def test_state(self) -> TestState:
        """Whether test scores are on record, cannot be, or merely are not."""
        if "test" in (self.plain.get("unlabelled_splits") or ()):
            return "unlabelled"
        scored = any("test" in run.scores for group in self.groups for run in group.ok)
        return "scored" if scored or any("test" in b.scores for b in self.baselines) else "missing"

    @property
    def score_split(self) -> str:
        """The split to show where only one fits: test where it has scores, else dev (which must then be stated)."""
        return "test" if self.test_state == "scored" else "dev"

    @property
    def selected_on(self) -> str | None:
        """The split that chose the epoch of the runs."""
        return next((run.selected_on for run in self.runs if run.selected_on), None)

    def label(self, group: Group) -> str:
        """A group's name with just what sets it apart: "lora · head"."""
        return " · ".join(
            [group.method, *(str(value) for axis in self.varying if (value := getattr(group, axis)) not in (None, ""))]
        )

    def best(self) -> tuple[Group, ...]:
        """The groups with the best mean primary test score as printed; none unless at least two groups can be compared.

        Dev never ranks: it chose the epoch. Random weights never count.
        """
        means = {}
        for index, group in enumerate(self.groups):
            score = group.score("test", self.primary) if self.test_state == "scored" else None
            if score is not None and not group.random_weights:
                means[index] = self.primary.rank(round(score.mean, 3))
        if len(means) < 2:
            return ()
        return tuple(self.groups[i] for i, mean in means.items() if mean == max(means.values()))


def load_study(folder: Path) -> dict[str, Any]:
    """`study.json` of a study folder, checked.

    Raises:
        DataError: it is missing, broken, of another format, or no study. PathError: no folder can have that name.
    """
    check_path(folder)
    path = folder / "study.json"
    if not path.is_file():
        raise DataError(f"There is no study.json in {folder}; give the folder that `semtune study --out` wrote.")
    study = read_json(path, "a study's record")
    if not isinstance(study, dict) or "format" not in study:
        raise DataError(f"{path} does not hold a study; give the folder that `semtune study --out` wrote.")
    if study["format"] != FORMAT:
        raise DataError(
            f"{path} has format {study['format']!r}, but this version of semtune reads format {FORMAT}; "
            "read it with the version that wrote it, or run the study again."
        )
    for key, kind in (("task", str), ("runs", list)):
        if not isinstance(study.get(key), kind):
            raise DataError(f'{path} is incomplete: "{key}" is missing or of the wrong kind; run the study again.')
    view_of(study, str(path))
    return study


def view_of(study: Mapping[str, Any], where: str = "the study") -> StudyView:
    """The typed, grouped form of the content of `study.json`. Raises DataError; UnknownNameError."""
    read = checked_study(study, where)
    runs = read.runs
    groups = _group(runs)
    # What has no readout or preset at all, such as a prompted run, is told apart by its method's name.
    varying = tuple(axis for axis in AXES[1:] if len({getattr(group, axis) for group in groups} - {""}) > 1)
    notes = [*(study.get("task_notes") or ()), *(n for run in runs for n in run.notes)]
    unknown = sum(run.data_fingerprint is None and run.status == "ok" for run in runs)
    if unknown:
        notes.append(
            f"which data and model files {unknown} of {len(runs)} runs had is not on record (fingerprint unknown)"
        )
    notes += _rows_of_one_name(groups)
    baselines = tuple(_baseline(*pair) for pair in zip(read.baselines, read.baseline_scores, strict=True))
    return StudyView(
        study, groups, baselines, read.leaderboard, read.metrics, varying, tuple(dict.fromkeys(notes)), read.overlaps
    )


def _baseline(plain: Mapping[str, Any], scores: Mapping[str, Scores]) -> Baseline:
    """A baseline from its checked JSON form and its scores by split."""
    note, status = plain.get("note"), plain.get("status") or "ok"
    if not note and status != "ok":
        note = f"{STATUS_WORDS[status]}: {plain.get('reason') or 'no reason on record'}"
    return Baseline(
        name=plain["name"],
        scores=scores,
        note=note,
        train_seconds=plain.get("train_seconds"),
        predict_examples_per_second=plain.get("predict_examples_per_second"),
        peak_bytes=plain.get("peak_bytes") or {},
        kept_from=plain.get("kept_from"),
    )


def _group(runs: Iterable[RunResult]) -> tuple[Group, ...]:
    """The groups in the order of their first runs.

    Runs of the same choices and seed differ in other options, as in records that were joined: the second of them
    begins a group of its own, so that no seed is counted twice.
    """
    grouped: dict[tuple[tuple[str, str, str, str, str], int], list[RunResult]] = {}
    earlier: Counter[tuple[Any, ...]] = Counter()
    for run in runs:
        key = (run.name or run.method, run.readout or run.answer, run.model, run.prompt, run.preset)
        grouped.setdefault((key, earlier[key, run.approach, run.seed]), []).append(run)
        earlier[key, run.approach, run.seed] += 1
    return tuple(Group(*key, tuple(members)) for (key, _), members in grouped.items())


def _rows_of_one_name(groups: Sequence[Group]) -> list[str]:
    """A note on groups that no column tells apart."""
    counts = Counter(tuple(getattr(group, axis) for axis in AXES) for group in groups)
    names = dict.fromkeys(", ".join(filter(None, key)) for key, count in counts.items() if count > 1)
    return [f"{name} stands in several rows, whose runs differ in options that are no column" for name in names]
