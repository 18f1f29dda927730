"""The table of a study's sweep: every value that was compared, its score by cross-validation, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semtune.report.table import NOTHING, Cell, Column, Footnotes, Row, Table, figure_cells
from semtune.report.view import Group, StudyView, statistic
from semtune.specs.kinds import shown

PRUNED = "Given up by successive halving: other values were better after as many runs."


def sweep_table(study: Mapping[str, Any], view: StudyView) -> Table | None:
    """A row for each value of each row of the study; None where nothing was swept. `study` is checked."""
    sweep = study.get("sweep")
    if not sweep:
        return None
    trials = [(row, trial) for row in sweep["rows"] for trial in row["trials"]]
    scores = [statistic([run["score"] for run in trial["runs"]]) for _, trial in trials]
    seconds = [statistic([run["seconds"] for run in trial["runs"]]) for _, trial in trials]
    rows = tuple(
        Row(
            (
                Cell(str(row["label"])),
                Cell(_value(trial["value"]), bold=trial["outcome"] == "chosen"),
                Cell(str(len(trial["runs"]))),
                score,
                second,
                Cell(str(trial["outcome"]), marks=(1,) if trial["outcome"] == "pruned" else ()),
            ),
            kind="label",
        )
        for (row, trial), score, second in zip(
            trials, figure_cells(scores, digits=3), figure_cells(seconds, digits=1), strict=True
        )
    )
    folds = sweep["folds"]
    columns = (
        Column("Row", align="left"),
        Column("Value", align="left"),
        Column("Runs"),
        Column(f"{view.primary.title}", short=view.primary.short or view.primary.title),
        Column("Per run", "s", drop=1),
        Column("Outcome", align="left"),
    )
    caption = f"{folds}-fold cross-validation on train + dev, a run for each fold and seed; test is never predicted"
    notes = (PRUNED,) if any(trial["outcome"] == "pruned" for _, trial in trials) else ()
    return Table("sweep", "Sweep", caption, columns, rows, notes)


def chosen_marks(view: StudyView, group: Group, notes: Footnotes) -> list[int]:
    """A footnote on a group whose options were chosen by the sweep: which, among how many values, by how many runs."""
    sweep = view.plain.get("sweep")
    rows = sweep["rows"] if sweep else ()
    wanted = (group.method, group.readout, group.model, group.prompt)
    found = []
    for row in rows:
        of_row = (
            row.get("method") or row.get("strategy"),
            row.get("readout") or row.get("answer"),
            row.get("model"),
            row.get("prompt"),
        )
        if row.get("chosen") and of_row == wanted:
            found.append(notes.add(f"{row.get('sentence')}."))
    return found


def _value(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_written(v)}" for name, v in value.items()) or NOTHING


def _written(value: Any) -> str:
    if isinstance(value, str) and " " in value:
        return shown(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
