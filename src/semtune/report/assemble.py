"""A table of groups and baselines, put together from its columns of figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semtune.records import RunResult
from semtune.report.definitions import deviation_marks, preset_marks
from semtune.report.sweep_table import chosen_marks
from semtune.report.table import Cell, Column, Footnotes, Row, Table, decimals, figure_cells, number
from semtune.report.view import STATUS_WORDS, Baseline, Group, Statistic, StudyView

ONE_SEED = "One seed: differences of a few points are noise."
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


def has_several_seeds(view: StudyView) -> bool:
    """Whether some group has runs with more than one seed."""
    return any(len(group.runs) > 1 for group in view.groups)


def assemble(
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
    several = has_several_seeds(view)
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
