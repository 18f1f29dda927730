"""The study's tables of groups and baselines: speed, and memory and quality.

Every figure is on record, or a mean over seeds of such figures. Dev never ranks anything: it chose the epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from semtune.records import Metric, Scores
from semtune.report.assemble import ONE_SEED, SPREAD, Figure, assemble, has_several_seeds
from semtune.report.definitions import definition_marks
from semtune.report.leaderboard import NO_GOLD, leaderboard_table
from semtune.report.sweep_table import sweep_table
from semtune.report.table import Column, Footnotes, Table, number
from semtune.report.usage import usage_columns
from semtune.report.view import Baseline, Group, Statistic, StudyView, load_study, statistic, view_of

__all__ = ["all_tables", "leaderboard_table", "load_study", "quality_table", "speed_table"]

GB = 1e-9
PLANNED = "Predicted by the plan of the run, from its own step on tensors without bytes; see docs/plan.md."


def all_tables(study: Mapping[str, Any]) -> list[Table]:
    """The tables that a terminal shows: speed, memory and quality, the sweep and the leaderboard where there are any.

    Raises:
        DataError: the study's records are broken.
    """
    view = view_of(study)
    tables = [speed_table(view), quality_table(view)]
    return [*tables, *(t for t in (sweep_table(study, view), leaderboard_table(view)) if t is not None)]


def speed_table(view: StudyView) -> Table:
    """Table 1: seconds per iteration and per epoch, tokens a second, training and predicting time."""
    notes = _footnotes(view)
    iteration = notes.add("Median over optimizer steps; the first (warm-up) step is left out.")
    planned = _planned_seconds(view, notes)
    training = notes.add("Training alone: dev scoring is left out.")
    tokens = notes.add("Real tokens; padding never counts.")

    def of(name: str) -> Callable[[Group], Statistic | None]:
        return lambda group: group.figure(lambda run: getattr(run, name))

    bases = [b for b in view.baselines if b.train_seconds is not None or b.predict_examples_per_second is not None]
    figures = [
        Figure(Column("Per iteration", "s", "s/iter", marks=(iteration,)), of("seconds_per_iteration")),
        *planned,
        Figure(Column("Per epoch", "s", "s/epoch", drop=2, marks=(training,)), of("seconds_per_epoch")),
        Figure(
            Column("Training", "s", "train s", drop=1, marks=(training,)),
            of("train_seconds"),
            baseline=lambda base: statistic([base.train_seconds]),
        ),
        Figure(Column("Training speed", "tokens/s", "tokens/s", marks=(tokens,)), of("tokens_per_second")),
        Figure(
            Column("Predicting", "examples/s", "predict ex/s", drop=3),
            of("predict_examples_per_second"),
            baseline=lambda base: statistic([base.predict_examples_per_second]),
        ),
    ]
    figures += [Figure(column, get) for column, get in usage_columns(view, notes)]
    return assemble(view, "speed", "Speed", figures, notes, bases, scores=False)


def quality_table(view: StudyView) -> Table:
    """Table 2: trainable parameters, peak memory per phase, scores on test and dev, parse failures; baselines below."""
    notes = _footnotes(view)
    memory = notes.add(_memory_note(view))
    peaks = (("load", "Peak load", 7), ("train", "Peak train", 0), ("evaluate", "Peak evaluate", 6))
    figures = [
        Figure(Column("Trainable", "millions", "train. M", drop=5), _trainable, 1e-6),
        Figure(Column("Trainable", "% of all", "train. %", drop=8), _trainable_share, 100.0),
    ]
    with_bytes = any(base.peak_bytes for base in view.baselines)
    for phase, title, drop in peaks:
        column = Column(title, "GB", f"{phase} GB" if phase != "evaluate" else "eval. GB", drop=drop, marks=(memory,))
        figures.append(Figure(column, _peak(phase), GB, 2, _baseline_peak(phase) if with_bytes else None))
        if phase == "train":
            figures += _planned_peaks(view, notes)
    figures += _score_figures(view, notes)
    return assemble(view, "quality", "Memory and quality", figures, notes, view.baselines, scores=True)


def _footnotes(view: StudyView) -> Footnotes:
    """Footnotes, those of the first columns first."""
    return Footnotes([SPREAD] if has_several_seeds(view) else [])


def _planned_seconds(view: StudyView, notes: Footnotes) -> list[Figure]:
    """The planned seconds of an iteration, where there are plans."""
    if not any(run.predicted_seconds_per_iteration for run in view.runs):
        return []
    column = Column("Planned", "s", "plan s", drop=9, marks=(notes.add(PLANNED),))
    return [Figure(column, lambda group: group.figure(lambda run: run.predicted_seconds_per_iteration))]


def _planned_peaks(view: StudyView, notes: Footnotes) -> list[Figure]:
    """The planned peak of training, where there are plans."""
    if not any(run.predicted_peak_bytes for run in view.runs):
        return []
    column = Column("Planned train", "GB", "plan GB", drop=9, marks=(notes.add(PLANNED),))
    return [Figure(column, lambda group: group.planned_peak("train"), GB, 2)]


def _peak(phase: str) -> Callable[[Group], Statistic | None]:
    return lambda group: group.peak(phase)


def _baseline_peak(phase: str) -> Callable[[Baseline], Statistic | None]:
    return lambda base: statistic([base.peak_bytes.get(phase)])


def _trainable(group: Group) -> Statistic | None:
    return _count(run.trainable_parameters for run in group.runs)


def _trainable_share(group: Group) -> Statistic | None:
    return _count(
        run.trainable_parameters / run.total_parameters
        for run in group.runs
        if run.trainable_parameters is not None and run.total_parameters
    )


def _count(values: Iterable[float | None]) -> Statistic | None:
    """A figure that does not depend on the seed: a standard deviation of zero is not shown."""
    found = statistic(values)
    return dataclasses.replace(found, sd=found.sd or None) if found is not None else None


def _memory_note(view: StudyView) -> str:
    runtime = sorted({run.runtime_bytes for run in view.runs if run.runtime_bytes is not None})
    text = "GB = 1,000,000,000 bytes. Peak of resident memory in each phase (on CUDA: of the device's)"
    if not runtime:
        return text + "."
    sizes = " to ".join(dict.fromkeys(number(size, 0) for size in (runtime[0], runtime[-1])))
    return f"{text}, the bare runtime (imports done, nothing loaded) included; it takes {sizes} bytes."


def _score_figures(view: StudyView, notes: Footnotes) -> list[Figure]:
    test_marks = [notes.add(NO_GOLD)] if view.test_state == "unlabelled" else []
    seeds = [len(group.ok) for group in view.groups if group.ok]
    if seeds and max(seeds) == 1:
        test_marks.append(notes.add(ONE_SEED))
    test_marks += _overlap_marks(view, "test", notes)
    dev_marks: tuple[int, ...] = ()
    if view.selected_on == "dev":
        dev_marks = (notes.add("Dev chose the epoch and, where the readout has one, the threshold: it is optimistic."),)
    dev_marks += tuple(_overlap_marks(view, "dev", notes))

    how = {metric.name: definition_marks(metric, notes) for metric in view.metrics}
    primary = how[view.primary.name]
    found = [_score_figure("test", view.primary, 0, (*test_marks, *primary), primary=True)]
    found += _interval_figures(view, notes)
    found += [_score_figure("test", metric, 3, (*test_marks, *how[metric.name])) for metric in view.metrics[1:]]
    found.append(_score_figure("dev", view.primary, 0 if view.score_split == "dev" else 2, (*dev_marks, *primary)))
    if any(group.generates for group in view.groups):
        split = view.score_split
        failures = Column("Parse failures", f"% of {split}", "parse fail. %", drop=4)
        found.append(Figure(failures, lambda g: g.parse_failures(split) if g.generates else None, 100.0, 1))
    return found


def _interval_figures(view: StudyView, notes: Footnotes) -> list[Figure]:
    """The ends of the primary score's interval on the split that is compared, where there are any."""
    split, name = view.score_split, view.primary.name
    if not any(name in run.scores[split].intervals for run in view.runs if split in run.scores):
        return []
    several = ", averaged over the seeds" if has_several_seeds(view) else ""
    mark = notes.add(
        f"Ends of the 95% bootstrap interval of the {split} {view.primary.title} over the texts{several}: how far "
        "other texts of the kind may move it. Runs are scored on the same texts, so intervals that overlap do not "
        "show that two runs are alike."
    )

    def figure(title: str, index: int) -> Figure:
        def end(scores: Mapping[str, Scores]) -> float | None:
            ends = scores[split].intervals.get(name) if split in scores else None
            return None if ends is None else ends[index]

        return Figure(
            Column(title, "", title.lower(), drop=6, marks=(mark,)),
            lambda group: _mean(group.figure(lambda run: end(run.scores))),
            1,
            3,
            lambda base: statistic([end(base.scores)]),
        )

    return [figure("From", 0), figure("To", 1)]


def _mean(found: Statistic | None) -> Statistic | None:
    """A figure whose spread over the seeds is not shown."""
    return None if found is None else dataclasses.replace(found, sd=None)


def _overlap_marks(view: StudyView, split: str, notes: Footnotes) -> list[int]:
    """Footnotes on texts that a split shares with others."""
    sentences = [overlap.sentence() for overlap in view.overlaps if overlap.split == split]
    return [notes.add(f"{sentence[0].upper()}{sentence[1:]}.") for sentence in sentences]


def _score_figure(split: str, metric: Metric, drop: int, marks: tuple[int, ...], *, primary: bool = False) -> Figure:
    """A column with one metric on one split, for groups and baselines."""
    column = Column(
        f"{split.capitalize()} {metric.title}", "", f"{split} {metric.short or metric.title}", drop=drop, marks=marks
    )
    return Figure(
        column,
        lambda group: group.score(split, metric),
        1,
        3,
        lambda base: base.score(split, metric),
        split=split,
        primary=primary,
    )
