"""What `study.json` holds, as those who read it expect it: the one place that declares the kinds of its values.

A key that an earlier version did not write may be missing or null. Runs are `RunResult`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semtune.records.overlap import Overlap
from semtune.records.quantities import Bytes, Count, PerSecond, Seconds
from semtune.records.results import Status
from semtune.records.scores import LeaderboardEntry, Metric, Scores


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of the environment."""

    name: str | None = None
    memory_bytes: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The part of a run's or study's environment that is shown or compared."""

    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: Count | None = None
    threads: Count | None = None
    native_bf16: bool | None = None
    total_memory_bytes: Bytes | None = None
    cuda: str | None = None
    gpus: tuple[str | Gpu, ...] | None = None
    packages: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class BaselineEntry:
    """A baseline of a study: what is on record of its run."""

    name: str
    scores: Mapping[str, Scores] | None = None
    """By split."""
    note: str | None = None
    """Why there are no scores."""
    status: Status | None = None
    reason: str | None = None
    load_seconds: Seconds | None = None
    train_seconds: Seconds | None = None
    predict_seconds: Seconds | None = None
    predict_examples_per_second: PerSecond | None = None
    runtime_bytes: Bytes | None = None
    peak_bytes: Mapping[str, Bytes] | None = None
    kept_from: str | None = None


@dataclass(frozen=True, slots=True)
class SweptRun:
    """One run of a value of a sweep."""

    score: float | None
    seconds: Seconds | None


@dataclass(frozen=True, slots=True)
class SweptValue:
    """A value of a sweep and what became of it."""

    value: Mapping[str, Any]
    outcome: str
    runs: tuple[SweptRun, ...]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A row of the study and its values."""

    label: str
    trials: tuple[SweptValue, ...]
    chosen: Mapping[str, Any] | None = None
    sentence: str | None = None
    method: str | None = None
    strategy: str | None = None
    readout: str | None = None
    answer: str | None = None
    model: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """The record of a sweep."""

    folds: Count
    rows: tuple[SweepRow, ...]


@dataclass(frozen=True, slots=True)
class StudySpecEntry:
    """The study's own settings; all others are shown as they are."""

    shared: Mapping[str, Any] | None = None
    task_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StudyFile:
    """The content of `study.json`, its runs, baselines and sweep by themselves."""

    task: str
    runs: tuple[Any, ...]
    """A `RunResult` each."""
    baselines: tuple[Any, ...] | None = None
    """A `BaselineEntry` each."""
    answer: str | None = None
    labels: tuple[str, ...] | None = None
    metrics: tuple[Metric, ...] | None = None
    leaderboard: tuple[LeaderboardEntry, ...] | None = None
    overlaps: tuple[Overlap, ...] | None = None
    task_notes: tuple[str, ...] | None = None
    unlabelled_splits: tuple[str, ...] | None = None
    command: str | None = None
    date: str | None = None
    spec: StudySpecEntry | None = None
    environment: Environment | None = None
    sweep: Any = None
    """A `SweepEntry`, if anything was swept."""
