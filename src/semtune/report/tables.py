"""The study's tables: speed, memory and quality, and the leaderboard.

Every figure is one that a record holds, or a mean over seeds of such. Dev never ranks anything: it chose the epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semtune.records import RunResult
from semtune.report.table import Cell, Column, Footnotes, Row, Table, figure_cells, number
from semtune.report.view import STATUS_WORDS, Baseline, Group, Statistic, StudyView, load_study, statistic, view_of

__all__ = ["all_tables", "leaderboard_table", "load_study", "quality_table", "speed_table"]

GB = 1e-9
ONE_SEED = "One seed: differences of a few points are noise."
PLANNED = "Predicted by the plan of the run, from its own step on tensors without bytes; see docs/plan.md."
SPREAD = "Mean ± sample standard deviation over the seeds."
NO_GOLD = "The test split has no gold labels here."
RANDOM_WEIGHTS = "Random weights: speed and memory only, scores mean nothing."


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of figures, and where each comes from."""

    column: Column
    get: Callable[[Group], Statistic | None]
    scale: float = 1.0
    places: int | None = None
    baseline: Callable[[Baseline], Statistic | None] | None = None


def all_tables(study: Mapping[str, Any]) -> list[Table]:
    """The tables that a terminal shows: speed, memory and quality, and the leaderboard where the task has one.

    Raises:
        DataError: the study's records are broken.
    """
    view = view_of(study)
    tables = [speed_table(view), quality_table(view)]
    board = leaderboard_table(view)
    return tables if board is None else [*tables, board]


def speed_table(view: StudyView) -> Table:
    """Table 1: seconds per iteration and per epoch, tokens a second, training and predicting time."""
    notes = _footnotes(view)
    iteration = notes.add("Median over optimizer steps; the first (warm-up) step is left out.")
    planned = _planned_seconds(view, notes)
    training = notes.add("Training alone: dev scoring is left out.")
    tokens = notes.add("Real tokens; padding never counts.")

    def of(name: str) -> Callable[[Group], Statistic | None]:
        return lambda group: group.figure(lambda run: getattr(run, name))

    figures = [
        Figure(Column("Per iteration", "s", "s/iter", marks=(iteration,)), of("seconds_per_iteration")),
        *planned,
        Figure(Column("Per epoch", "s", "s/epoch", drop=2, marks=(training,)), of("seconds_per_epoch")),
        Figure(Column("Training", "s", "train s", drop=1, marks=(training,)), of("train_seconds")),
        Figure(Column("Training speed", "tokens/s", "tokens/s", marks=(tokens,)), of("tokens_per_second")),
        Figure(Column("Predicting", "examples/s", "predict ex/s", drop=3), of("predict_examples_per_second")),
    ]
    return _assemble(view, "speed", "Speed", figures, notes, baselines=False)


def quality_table(view: StudyView) -> Table:
    """Table 2: trainable parameters, peak memory per phase, F1 on test and dev, parse failures; baselines below."""
    notes = _footnotes(view)
    memory = notes.add(_memory_note(view))
    peaks = (("load", "Peak load", 7), ("train", "Peak train", 0), ("evaluate", "Peak evaluate", 6))
    figures = [
        Figure(Column("Trainable", "millions", "train. M", drop=5), _trainable, 1e-6),
        Figure(Column("Trainable", "% of all", "train. %", drop=8), _trainable_share, 100.0),
    ]
    for phase, title, drop in peaks:
        column = Column(title, "GB", f"{phase} GB" if phase != "evaluate" else "eval. GB", drop=drop, marks=(memory,))
        figures.append(Figure(column, lambda group, phase=phase: group.peak(phase), GB, 2))  # type: ignore[misc]
        if phase == "train":
            figures += _planned_peaks(view, notes)
    figures += _score_figures(view, notes)
    return _assemble(view, "quality", "Memory and quality", figures, notes, baselines=True)


def _footnotes(view: StudyView) -> Footnotes:
    """Footnotes that begin with what belongs to the first columns."""
    return Footnotes([SPREAD] if _several(view) else [])


def _planned_seconds(view: StudyView, notes: Footnotes) -> list[Figure]:
    """What the plans said of an iteration, where there are plans."""
    if not any(run.predicted_seconds_per_iteration for run in view.runs):
        return []
    column = Column("Planned", "s", "plan s", drop=9, marks=(notes.add(PLANNED),))
    return [Figure(column, lambda group: group.figure(lambda run: run.predicted_seconds_per_iteration))]


def _planned_peaks(view: StudyView, notes: Footnotes) -> list[Figure]:
    """What the plans said of training's peak, where there are plans."""
    if not any(run.predicted_peak_bytes for run in view.runs):
        return []
    column = Column("Planned train", "GB", "plan GB", drop=9, marks=(notes.add(PLANNED),))
    return [Figure(column, lambda group: group.planned_peak("train"), GB, 2)]


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
    """A figure that does not depend on the seed: a standard deviation of zero says nothing."""
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
    dev_marks: tuple[int, ...] = ()
    if view.selected_on == "dev":
        dev_marks = (notes.add("Dev chose the epoch and, where the readout has one, the threshold: it is optimistic."),)

    def score(split: str, which: str) -> tuple[Any, Any]:
        return (
            lambda group: group.score(split, which),
            lambda base: statistic([getattr(base.scores[split], which)]) if split in base.scores else None,
        )

    micro, macro, dev = score("test", "micro_f1"), score("test", "macro_f1"), score("dev", "micro_f1")
    marks, keep_dev = tuple(test_marks), 0 if view.score_split == "dev" else 2
    found = [
        Figure(Column("Test micro-F1", "", "test micro", marks=marks), micro[0], 1, 3, micro[1]),
        Figure(Column("Test macro-F1", "", "test macro", drop=3, marks=marks), macro[0], 1, 3, macro[1]),
        Figure(Column("Dev micro-F1", "", "dev micro", drop=keep_dev, marks=dev_marks), dev[0], 1, 3, dev[1]),
    ]
    if any(group.generates for group in view.groups):
        split = view.score_split
        failures = Column("Parse failures", f"% of {split}", "parse fail. %", drop=4)
        get = score(split, "parse_failures")[0]
        found.append(Figure(failures, lambda group: get(group) if group.generates else None, 100.0, 1))
    return found


def _assemble(
    view: StudyView, key: str, title: str, figures: Sequence[Figure], notes: Footnotes, *, baselines: bool
) -> Table:
    """Rows of groups (and baselines) by columns of figures."""
    named = [Column("Method", align="left"), *(Column(axis.capitalize(), align="left") for axis in view.varying)]
    several = _several(view)
    if several:
        named.append(Column("Seeds", short="n", drop=9, marks=(notes.add(SPREAD),)))
    first = len(named)
    bases = view.baselines if baselines else ()
    columns = [_cells(view, figure, bases) for figure in figures]
    rows = []
    for index, group in enumerate(view.groups):
        head = [Cell(group.method), *(Cell(str(getattr(group, axis))) for axis in view.varying)]
        head[0] = dataclasses.replace(head[0], marks=_group_marks(group, notes, several and baselines, baselines))
        if several:
            head.append(Cell(str(len(group.ok))))
        cells = (*head, *(column[index] for column in columns))
        outcome = _outcome(view, group, notes)
        full = outcome is not None and outcome.text == STATUS_WORDS["out_of_memory"]
        wanted = "Peak train" if full else "Test micro-F1"
        place = next((first + i for i, figure in enumerate(figures) if figure.column.title == wanted), first)
        rows.append(Row(cells, outcome=outcome, outcome_column=place))
    for index, base in enumerate(bases, start=len(view.groups)):
        marks = (notes.add(f"{base.name}: {base.note.rstrip('.')}."),) if base.note else ()
        head = [Cell(base.name, marks=marks)] + [Cell("")] * (first - 1)
        rows.append(Row((*head, *(column[index] for column in columns)), kind="baseline"))
    heads = (*named, *(figure.column for figure in figures))
    titles = [figure.column.title for figure in figures]
    span_from = first + (titles.index("Peak load") if "Peak load" in titles else 0)
    return Table(key, title, caption_of(view), heads, tuple(rows), tuple(notes.texts), span_from)


def _cells(view: StudyView, figure: Figure, bases: Sequence[Baseline]) -> list[Cell]:
    """A figure's column: of every group, then of every baseline."""
    values = [figure.get(group) for group in view.groups]
    values += [figure.baseline(base) if figure.baseline else None for base in bases]
    cells = figure_cells(values, figure.scale, figure.places)
    if not figure.column.title.startswith("Test "):
        # Baselines have only F1: an empty cell says so better than a dash, which means "not on record".
        return [c if i < len(view.groups) or figure.baseline else Cell("") for i, c in enumerate(cells)]
    if view.test_state == "unlabelled":
        return [Cell("not scored")] * len(cells)
    if figure.column.title == "Test micro-F1":
        best = view.best()
        for index, group in enumerate(view.groups):
            cells[index] = dataclasses.replace(cells[index], bold=group in best)
    return cells


def _group_marks(group: Group, notes: Footnotes, several: bool, scores: bool) -> tuple[int, ...]:
    """Footnotes on a group's name: lost seeds, a single seed among groups of several, random weights."""
    marks = []
    if group.ok and group.lost:
        lost = "; ".join(f"seed {run.seed} {_ended(run)}" for run in group.lost)
        marks.append(notes.add(f"{len(group.lost)} of {len(group.runs)} runs left out of the figures: {lost}."))
    if several and len(group.ok) == 1:
        marks.append(notes.add(ONE_SEED))
    if scores and group.random_weights:
        marks.append(notes.add(RANDOM_WEIGHTS))
    return tuple(marks)


def _ended(run: RunResult) -> str:
    reason = (run.reason or "no reason on record").strip().rstrip(".")
    return f"{STATUS_WORDS[run.status]}: {reason}"


def _outcome(view: StudyView, group: Group, notes: Footnotes) -> Cell | None:
    """What is said in place of figures where no run of the group ended well."""
    if group.ok:
        return None
    words = " / ".join(dict.fromkeys(STATUS_WORDS[run.status] for run in group.lost))
    reasons = dict.fromkeys(_ended(run) for run in group.lost)
    return Cell(words, marks=(notes.add(f"{view.label(group)} – " + "; ".join(reasons) + "."),))


def caption_of(view: StudyView) -> str:
    """What all groups share, and the task."""
    return " · ".join([f"task {view.task}", *(f"{axis} {value}" for axis, value in view.constant.items())])


def leaderboard_table(view: StudyView) -> Table | None:
    """Table 3: published results with the runs' place among them; None where the task has no leaderboard."""
    if not view.leaderboard:
        return None
    notes = Footnotes()
    entries: list[tuple[float, Row]] = []
    for entry in view.leaderboard:
        place = 1 + sum(other.micro_f1 > entry.micro_f1 for other in view.leaderboard)
        cells = (Cell(str(place)), Cell(entry.team), Cell(f"{entry.micro_f1:.3f}"), Cell(f"{entry.macro_f1:.3f}"))
        entries.append((entry.micro_f1, Row(cells, kind="team")))
    for group in view.groups if view.test_state == "scored" else ():
        score, macro = group.score("test", "micro_f1"), group.score("test", "macro_f1")
        if score is None or macro is None or group.random_weights:
            continue
        place = 1 + sum(other.micro_f1 > score.mean for other in view.leaderboard)
        mark = notes.add("In brackets: the place that this study's run (mean over its seeds) would take.")
        micro_cell, macro_cell = figure_cells([score, macro], places=3)
        cells = (Cell(f"({place})", marks=(mark,)), Cell(view.label(group)), micro_cell, macro_cell)
        entries.append((score.mean, Row(cells, kind="run")))
    if view.test_state != "scored":
        why = NO_GOLD if view.test_state == "unlabelled" else "No run has test scores on record."
        notes.add(f"{why.rstrip('.')}, so this study's runs cannot be placed.")
    entries.sort(key=lambda pair: -pair[0])
    columns = (
        Column("Place", align="right"),
        Column("Team or run", align="left"),
        Column("Test micro-F1", short="test micro"),
        Column("Test macro-F1", short="test macro", drop=1),
    )
    rows = tuple(row for _, row in entries)
    return Table("leaderboard", "Leaderboard", f"task {view.task}", columns, rows, tuple(notes.texts))
