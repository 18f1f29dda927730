"""Tables that only the page shows, being long: F1 by label, and every run where groups are means over seeds."""

from __future__ import annotations

from semtune.records import RunResult
from semtune.report.assemble import RANDOM_WEIGHTS, caption_of
from semtune.report.definitions import definition_marks
from semtune.report.table import NOTHING, Cell, Column, Footnotes, Row, Table, figure_cells
from semtune.report.view import STATUS_WORDS, Group, Statistic, StudyView, score_of, statistic


def label_table(view: StudyView) -> Table | None:
    """F1 by label (test, else dev) and how often each label is gold; None where no run has scores."""
    split = view.score_split
    groups = [g for g in view.groups if any(split in run.scores and run.scores[split].per_label for run in g.ok)]
    if not groups:
        return None
    supports = {label: s.support for g in groups for r in g.ok if split in r.scores
                for label, s in r.scores[split].per_label.items()}  # fmt: skip
    notes = Footnotes()
    if split == "dev":
        notes.add("On dev, since test is not scored here. Dev chose the epoch, so it is optimistic.")
    if any(len(g.ok) > 1 for g in groups):
        notes.add("Means over the seeds.")
    if any(g.random_weights for g in groups):
        notes.add(RANDOM_WEIGHTS)
    for metric in view.metrics:
        definition_marks(metric, notes)
    rows = []
    for label in sorted(supports, key=lambda name: -supports[name]):
        cells = [Cell(label), Cell(str(supports[label]))]
        for group in groups:
            f1 = _label_f1(group, split, label)
            cells.append(Cell(NOTHING) if f1 is None else Cell(f"{f1.mean:.2f}", share=f1.mean))
        rows.append(Row(tuple(cells), kind="label"))
    columns = (
        Column("Label", align="left"),
        Column("Gold", split),
        *(Column(view.label(group)) for group in groups),
    )
    return Table("labels", f"F1 by label, {split} split", caption_of(view), columns, tuple(rows), tuple(notes.texts))


def _label_f1(group: Group, split: str, label: str) -> Statistic | None:
    def of(run: RunResult) -> float | None:
        scores = run.scores.get(split)
        return scores.per_label[label].f1 if scores is not None and label in scores.per_label else None

    return group.figure(of)


def runs_table(view: StudyView) -> Table | None:
    """Every run by itself, so that the means can be checked; None where no group has several runs."""
    if all(len(group.runs) == 1 for group in view.groups):
        return None
    runs = [(view.label(group), run) for group in view.groups for run in group.runs]
    split = view.score_split
    scores = [score_of(run.scores, split, view.primary) for _, run in runs]
    quality = figure_cells([statistic([score]) for score in scores], digits=3)
    peaks = figure_cells([statistic([run.peak_bytes.get("train")]) for _, run in runs], 1e-9, 2)
    paces = figure_cells([statistic([run.seconds_per_iteration]) for _, run in runs])
    rows = [
        Row(
            (
                Cell(label),
                Cell(str(run.seed)),
                Cell(STATUS_WORDS[run.status]),
                Cell(NOTHING if run.best_epoch is None else str(run.best_epoch)),
                paces[i],
                peaks[i],
                quality[i],
            ),
            kind="label",
        )
        for i, (label, run) in enumerate(runs)
    ]
    columns = (
        Column("Run", align="left"),
        Column("Seed"),
        Column("Status", align="left"),
        Column("Epoch kept"),
        Column("Per iteration", "s"),
        Column("Peak train", "GB"),
        Column(f"{split.capitalize()} {view.primary.title}"),
    )
    return Table("runs", "Every run", caption_of(view), columns, tuple(rows), ())
