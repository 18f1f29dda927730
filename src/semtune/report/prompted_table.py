"""The table of prompted runs: what stood in their prompts, and the page of their transcripts."""

from __future__ import annotations

from collections.abc import Sequence

from semtune.report.assemble import caption_of
from semtune.report.table import NOTHING, Cell, Column, Footnotes, Row, Table
from semtune.report.transcripts import Transcripts
from semtune.report.view import StudyView

COUNTED = {"demonstrations": "Demonstrations", "knowledge": "Entries of --knowledge"}


def prompted_table(view: StudyView, found: Sequence[Transcripts]) -> Table | None:
    """A row for each run with transcripts; None where there is none."""
    if not found:
        return None
    notes = Footnotes()
    means = {key: [t.counts.mean(key) for t in found] for key in COUNTED}
    means = {key: values for key, values in means.items() if any(value is not None for value in values)}
    mark = notes.add("Mean over all prompts on record.") if means else None
    cited = any(t.counts.most_cited() for t in found)
    columns = [
        Column("Run", align="left"),
        Column("Seed"),
        Column("Texts"),
        *(Column(COUNTED[key], "a prompt", marks=() if mark is None else (mark,)) for key in means),
        *([Column("Most cited", "entry (prompts)", align="left")] if cited else []),
        Column("Transcripts", align="left"),
        Column("File", "from this folder", align="left"),
    ]
    rows = []
    for index, transcripts in enumerate(found):
        shown = [values[index] for values in means.values()]
        cells = [
            Cell(transcripts.label),
            Cell(str(transcripts.run.seed)),
            Cell(f"{transcripts.total:,}"),
            *(Cell(NOTHING if mean is None else f"{mean:.2f}") for mean in shown),
            *([Cell(transcripts.counts.most_cited() or NOTHING)] if cited else []),
            Cell("read", href=transcripts.page),
            Cell(transcripts.path.as_posix()),
        ]
        rows.append(Row(tuple(cells), kind="label"))
    title = "What prompted runs were asked and answered"
    return Table("prompted", title, caption_of(view), tuple(columns), tuple(rows), tuple(notes.texts))
