"""The study's tables of groups and baselines: speed, and memory and quality.

Every figure is on record, or a mean over seeds of such figures. Dev never ranks anything: it chose the epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semtune.records import Metric, RunResult, Scores
from semtune.report.definitions import definition_marks, deviation_marks, preset_marks
from semtune.report.leaderboard import NO_GOLD, leaderboard_table
from semtune.report.sweep_table import chosen_marks, sweep_table
from semtune.report.table import Cell, Column, Footnotes, Row, Table, decimals, figure_cells, number
from semtune.report.usage import usage_columns
from semtune.report.view import STATUS_WORDS, Baseline, Group, Statistic, StudyView, load_study, statistic, view_of

__all__ = ["all_tables", "leaderboard_table", "load_study", "quality_table", "speed_table"]

GB = 1e-9
ONE_SEED = "One seed: differences of a few points are noise."
PLANNED = "Predicted by the plan of the run, from its own step on tensors without bytes; see docs/plan.md."
SPREAD = "Mean ± sample standard deviation over the seeds."
RANDOM_WEIGHTS = "Random weights: speed and memory only, scores mean nothing."


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of figures, and how to get each from a group or a baseline."""

    column: Column
    get: Callable[[Group], Statistic | None]
    scale: float = 1.0
    digits: int | None = None
    baseline: Callable[[Baseline], Statistic | None] | None = None
    split: str | None = None
    """The split that a score is of; None for other figures."""
    primary: bool = False
    """Whether it is the score that ranks."""


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
    return _assemble(view, "speed", "Speed", figures, notes, bases, scores=False)


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
    return _assemble(view, "quality", "Memory and quality", figures, notes, view.baselines, scores=True)


def _footnotes(view: StudyView) -> Footnotes:
    """Footnotes, those of the first columns first."""
    return Footnotes([SPREAD] if _several(view) else [])


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


def _several(view: StudyView) -> bool:
    return any(len(group.runs) > 1 for group in view.groups)


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
    several = ", averaged over the seeds" if _several(view) else ""
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


def _assemble(
    view: StudyView,
    key: str,
    title: str,
    figures: Sequence[Figure],
    notes: Footnotes,
    bases: Sequence[Baseline],
    *,
    scores: bool,
) -> Table:
    """Rows of groups and baselines by columns of figures; `scores`: whether any of these are scores."""
    named = [Column("Method", align="left"), *(Column(axis.capitalize(), align="left") for axis in view.varying)]
    several = _several(view)
    if several:
        named.append(Column("Seeds", short="n", drop=9, marks=(notes.add(SPREAD),)))
    first = len(named)
    columns = [_cells(view, figure, bases) for figure in figures]
    rows = []
    for index, group in enumerate(view.groups):
        head = [Cell(group.method), *(Cell(str(getattr(group, axis))) for axis in view.varying)]
        head[0] = dataclasses.replace(head[0], marks=_group_marks(view, group, notes, several and scores, scores))
        if several:
            head.append(Cell(str(len(group.ok))))
        cells = (*head, *(column[index] for column in columns))
        outcome = _outcome(view, group, notes)
        full = outcome is not None and outcome.text == STATUS_WORDS["out_of_memory"]
        chosen = [i for i, f in enumerate(figures) if (f.column.title == "Peak train" if full else f.primary)]
        rows.append(Row(cells, outcome=outcome, outcome_column=first + (chosen[0] if chosen else 0)))
    for index, base in enumerate(bases, start=len(view.groups)):
        remarks = [text.rstrip(".") for text in (base.note, base.kept_from) if text]
        marks: tuple[int, ...] = tuple(notes.add(f"{base.name}: {text}.") for text in remarks)
        if scores:
            marks += deviation_marks([base.scores], view.metrics, notes)
        head = [Cell(base.name, marks=marks)] + [Cell("")] * (first - 1)
        rows.append(Row((*head, *(column[index] for column in columns)), kind="baseline"))
    heads = (*named, *(figure.column for figure in figures))
    titles = [figure.column.title for figure in figures]
    span_from = first + (titles.index("Peak load") if "Peak load" in titles else 0)
    return Table(key, title, caption_of(view), heads, tuple(rows), tuple(notes.texts), span_from)


def _cells(view: StudyView, figure: Figure, bases: Sequence[Baseline]) -> list[Cell]:
    """A figure's column: the cells of the groups, then those of the baselines with the same decimals."""
    values = [figure.get(group) for group in view.groups]
    digits = figure.digits
    if digits is None and any(values):
        digits = decimals([value.mean * figure.scale for value in values if value is not None])
    values += [figure.baseline(base) if figure.baseline else None for base in bases]
    cells = figure_cells(values, figure.scale, digits)
    for index, value in enumerate(values[len(view.groups) :], start=len(view.groups)):
        # Fitting label counts takes microseconds: "<0.1" is clearer than "0.0".
        if (
            figure.split is None
            and value is not None
            and digits is not None
            and 0 < value.mean * figure.scale < 0.5 * 10**-digits
        ):
            cells[index] = Cell(f"<{number(10**-digits, digits)}")
    if figure.split != "test":
        # Baselines lack most figures: an empty cell is clearer than a dash, which means "not on record".
        return [c if i < len(view.groups) or figure.baseline else Cell("") for i, c in enumerate(cells)]
    if view.test_state == "unlabelled":
        return [Cell("not scored")] * len(cells)
    if figure.primary:
        best = view.best()
        for index, group in enumerate(view.groups):
            cells[index] = dataclasses.replace(cells[index], bold=group in best)
    return cells


def _group_marks(view: StudyView, group: Group, notes: Footnotes, several: bool, scores: bool) -> tuple[int, ...]:
    """Footnotes on a group's name: lost seeds, a single seed among groups of several, random weights, other scoring."""
    marks = []
    if group.ok and group.lost:
        lost = "; ".join(f"seed {run.seed} {_ended(run)}" for run in group.lost)
        marks.append(notes.add(f"{len(group.lost)} of {len(group.runs)} runs left out of the figures: {lost}."))
    if several and len(group.ok) == 1:
        marks.append(notes.add(ONE_SEED))
    marks += _kept_marks(group, notes)
    if scores and group.random_weights:
        marks.append(notes.add(RANDOM_WEIGHTS))
    marks += preset_marks(group.preset, group.runs, notes)
    if scores:
        marks += chosen_marks(view, group, notes)
        marks += _cut_marks(view.label(group), group, notes)
        marks += deviation_marks((run.scores for run in group.ok), view.metrics, notes)
    return tuple(marks)


def _cut_marks(name: str, group: Group, notes: Footnotes) -> list[int]:
    """A footnote on texts that --max-length cut; it is the same for every seed."""
    cut = next((run.cut_texts for run in group.runs if run.cut_texts), {})
    sentences = [found.sentence(f"{split} texts") for split, found in cut.items()]
    return [notes.add(f"{name}: {'; '.join(sentences)}.")] if sentences else []


def _kept_marks(group: Group, notes: Footnotes) -> list[int]:
    """Footnotes on runs that an earlier call measured under other circumstances."""
    seeds: dict[str, list[str]] = {}
    for run in group.runs:
        if run.kept_from is not None:
            seeds.setdefault(run.kept_from, []).append(str(run.seed))
    if len(group.runs) == 1:
        return [notes.add(f"Kept from before: {remark}.") for remark in seeds]
    return [notes.add(f"Kept from before (seed {', '.join(of)}): {remark}.") for remark, of in seeds.items()]


def _ended(run: RunResult) -> str:
    reason = (run.reason or "no reason on record").strip().rstrip(".")
    return f"{STATUS_WORDS[run.status]}: {reason}"


def _outcome(view: StudyView, group: Group, notes: Footnotes) -> Cell | None:
    """The text that a row shows instead of figures where no run of the group ended well."""
    if group.ok:
        return None
    words = " / ".join(dict.fromkeys(STATUS_WORDS[run.status] for run in group.lost))
    reasons = dict.fromkeys(_ended(run) for run in group.lost)
    return Cell(words, marks=(notes.add(f"{view.label(group)} – " + "; ".join(reasons) + "."),))


def caption_of(view: StudyView) -> str:
    """A line with the task and the settings that all groups share."""
    return " · ".join([f"task {view.task}", *(f"{axis} {value}" for axis, value in view.constant.items())])
