"""The leaderboard of a shared task, with the study's runs at the rank that they would have."""

from __future__ import annotations

from semtune.report.table import NOTHING, Cell, Column, Footnotes, Row, Table, figure_cells
from semtune.report.view import StudyView

NO_GOLD = "The test split has no gold labels here."


def leaderboard_table(view: StudyView) -> Table | None:
    """Table 3: published results with the runs' rank among them; None where the task has no leaderboard."""
    board = [
        (entry, entry.scores[view.primary.name]) for entry in view.leaderboard if view.primary.name in entry.scores
    ]
    if not board:
        return None
    notes, metric = Footnotes(), view.primary
    entries: list[tuple[float, Row]] = []

    def rank(score: float) -> int:
        return 1 + sum(metric.better(other, score) for _, other in board)

    for entry, score in board:
        values = [entry.scores.get(m.name) for m in view.metrics]
        shown = [Cell(NOTHING) if value is None else Cell(f"{value:.3f}") for value in values]
        entries.append((score, Row((Cell(str(rank(score))), Cell(entry.team), *shown), kind="team")))
    for group in view.groups if view.test_state == "scored" else ():
        found = [group.score("test", m) for m in view.metrics]
        if found[0] is None or group.random_weights:
            continue
        mark = notes.add("In brackets: the place that this study's run (mean over its seeds) would take.")
        head = (Cell(f"({rank(found[0].mean)})", marks=(mark,)), Cell(view.label(group)))
        entries.append((found[0].mean, Row((*head, *figure_cells(found, digits=3)), kind="run")))
    if view.test_state != "scored":
        why = NO_GOLD if view.test_state == "unlabelled" else "No run has test scores on record."
        notes.add(f"{why.rstrip('.')}, so this study's runs cannot be placed.")
    entries.sort(key=lambda pair: -metric.rank(pair[0]))
    scores = [
        Column(f"Test {m.title}", short=f"test {m.short or m.title}", drop=0 if m is metric else 1)
        for m in view.metrics
    ]
    columns = (Column("Place", align="right"), Column("Team or run", align="left"), *scores)
    rows = tuple(row for _, row in entries)
    return Table("leaderboard", "Leaderboard", f"task {view.task}", columns, rows, tuple(notes.texts))
