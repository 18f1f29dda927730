"""External text for prompts (`--knowledge`): news, slang, glossary entries, looked up by BM25 for each text.

A table (.jsonl, .json, .csv, .tsv, .parquet) has an entry in each row: its text in a column named text, entry,
definition, meaning, body or content; its date in date or published; its title in title, term, word or name. In Markdown
(.md) paragraphs and list items are entries, with the nearest heading above them as their title; in any other text,
paragraphs are. There a date stands at the beginning of an entry, or of the heading above it.

Dates have the form 2021-03-05 (a time may follow). Paragraphs of more than 120 words are cut into passages of as many.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.runtime.files import expanded
from semtune.strategies._bm25 import Bm25
from semtune.strategies._files import read_json, write_json
from semtune.tasks.cells import text_of
from semtune.tasks.dates import plain_date
from semtune.tasks.decoding import decode_file
from semtune.tasks.remarks import Remarks
from semtune.tasks.table_files import RawTable, read_table

TEXT_COLUMNS = ("text", "entry", "definition", "meaning", "body", "content")
DATE_COLUMNS = ("date", "published")
TITLE_COLUMNS = ("title", "term", "word", "name")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
MARKDOWN = (".md", ".markdown")
PASSAGE_WORDS = 120
FILE = "knowledge.json"
_HEADING = re.compile(r"#{1,6}\s+(.*)")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+(.*)")
_LEADING_DATE = re.compile(r"\W*(\d{4}-\d{2}-\d{2})(?:T[\d:.Z+-]*)?\W*")


@dataclass(frozen=True, slots=True)
class KnowledgeEntry:
    """One passage of external text."""

    id: str
    """Where it stands in the file: "row 3", "line 12"."""
    text: str
    title: str = ""
    date: str | None = None
    """2021-03-05; None: it has no date, so it is never too new."""

    def shown(self) -> str:
        """As it stands in a prompt: date, title, text."""
        dated = f"[{self.date}] " if self.date else ""
        return f"{dated}{self.title}: {self.text}" if self.title else f"{dated}{self.text}"

    def plain(self) -> dict[str, Any]:
        """As plain values, without what it does not have."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value}


class Knowledge:
    """Entries and a BM25 index over their titles and texts. Raises OptionError where bm25s is not installed.

    notes: what reading the file left out or converted.
    """

    def __init__(self, entries: Sequence[KnowledgeEntry], notes: Sequence[str] = ()) -> None:
        self.entries, self.notes = tuple(entries), tuple(notes)
        self._index = Bm25()
        self._index.index([f"{e.title} {e.text}" for e in self.entries])

    @classmethod
    def read(cls, path: Path) -> Knowledge:
        """The entries of a file.

        Raises DataError: it is missing, no text, empty, or has a date of another form or a cell that is no text.
        """
        path = expanded(str(path))
        if path.is_dir():
            raise DataError(f"--knowledge {path} is a folder, but a file is needed; name the file.")
        suffix, remarks = path.suffix.lower(), Remarks(str(path))
        if suffix in TABLES:
            table = read_table(path, TaskOptions(), encoding_option=False)  # --encoding is about the task's data
            entries, notes = list(_rows(table, remarks)), table.notes
        else:
            decoded = decode_file(path)
            entries, notes = list(_paragraphs(decoded.text, path, markdown=suffix in MARKDOWN)), decoded.notes
        if not entries:
            raise DataError(f"--knowledge {path} holds no entries; give a file with text.")
        return cls(entries, (*notes, *remarks.notes))

    def nearest(self, text: str, count: int, *, not_after: str | None) -> list[tuple[KnowledgeEntry, float]]:
        """At most `count` entries that share a word with `text`, the most similar first.

        not_after: a date (2021-03-05); entries with a later one are passed over. None: none is.
        """
        similarities = self._index.similarities(text)
        found: list[tuple[KnowledgeEntry, float]] = []
        for i in np.argsort(-similarities, kind="stable").tolist():
            if len(found) == count or similarities[i] <= 0:
                break
            entry = self.entries[i]
            if not_after is None or entry.date is None or entry.date <= not_after:
                found.append((entry, float(similarities[i])))
        return found

    def save(self, folder: Path) -> None:
        """Write the entries."""
        write_json(folder / FILE, {"entries": [entry.plain() for entry in self.entries]})

    @classmethod
    def load(cls, folder: Path) -> Knowledge:
        """Read and index what `save` wrote. Raises ModelError, OptionError."""
        entries: list[KnowledgeEntry] = []
        read_json(
            folder / FILE, "the entries of --knowledge",
            lambda value: entries.extend(KnowledgeEntry(**row) for row in value["entries"]),
        )  # fmt: skip
        return cls(entries)


def _rows(table: RawTable, remarks: Remarks) -> Iterator[KnowledgeEntry]:
    """The rows of a table with a text; those without are counted in `remarks`. Raises DataError."""
    text_column = _column(table, TEXT_COLUMNS)
    if text_column is None:
        raise DataError(
            f"--knowledge {table.source} has no column of text (one of {', '.join(TEXT_COLUMNS)}; its columns: "
            f"{', '.join(table.columns)}); name one so."
        )
    date_column, title_column = _column(table, DATE_COLUMNS), _column(table, TITLE_COLUMNS)
    for where, row in table.rows:
        date = plain_date(row.get(date_column), f"{table.source}, {where}") if date_column else None
        title = _cell(row.get(title_column), title_column, where, remarks) if title_column else ""
        text = _cell(row.get(text_column), text_column, where, remarks)
        if not text:
            remarks.row(f'a row without text in column "{text_column}" was left out', where)
        for number, passage in enumerate(_passages(text)):
            yield KnowledgeEntry(where if number == 0 else f"{where}.{number + 1}", passage, title, date)


def _column(table: RawTable, usual: Sequence[str]) -> str | None:
    """The first usual column that the table has. Raises DataError for a name that several columns have."""
    by_name = {column.strip().casefold(): column for column in table.columns}
    found = next((by_name[name] for name in usual if name in by_name), None)
    if found is not None and found in table.repeated:
        raise DataError(
            f'--knowledge {table.source} has {table.repeated[found]} columns called "{found}"; give each a name of its '
            "own."
        )
    return found


def _cell(value: Any, column: str, where: str, remarks: Remarks) -> str:
    """A cell's text on one line, "" where there is none; a number is written out. Raises DataError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        remarks.row("a number was read as text", where)
        value = str(value)
    text = text_of(value, column, where, remarks, advice="write each entry as one string")
    return "" if text is None else " ".join(text.split())


def _paragraphs(text: str, path: Path, *, markdown: bool) -> Iterator[KnowledgeEntry]:
    """The paragraphs of a text file; in Markdown, list items by themselves, under their headings."""
    title, heading_date = "", None
    for line, block in _blocks(text, markdown=markdown):
        heading = _HEADING.fullmatch(block) if markdown else None
        if heading is not None:
            heading_date, title = _leading_date(heading[1], f"{path}, line {line}")
            continue
        date, passages = _leading_date(block, f"{path}, line {line}")
        for number, passage in enumerate(_passages(passages)):
            place = f"line {line}" if number == 0 else f"line {line}.{number + 1}"
            yield KnowledgeEntry(place, passage, title, date or heading_date)


def _blocks(text: str, *, markdown: bool) -> Iterator[tuple[int, str]]:
    """(number of its first line, its text on one line) of each paragraph, heading and list item."""
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        item = _ITEM.fullmatch(line) if markdown else None
        alone = item is not None or (markdown and _HEADING.fullmatch(line.strip()) is not None)
        if lines and (not line.strip() or alone):
            yield start, " ".join(" ".join(lines).split())
            lines = []
        if line.strip():
            start = start if lines else number
            lines.append(line.strip() if item is None else item[1])
            if alone and item is None:
                yield start, lines.pop()


def _leading_date(text: str, where: str) -> tuple[str | None, str]:
    """The date at the beginning of `text`, and what follows it. Raises DataError for one that is in no calendar."""
    found = _LEADING_DATE.match(text)
    if found is None:
        return None, text
    return plain_date(found[1], where), text[found.end() :]


def _passages(text: str) -> Iterator[str]:
    """`text` in pieces of at most `PASSAGE_WORDS` words; none for a blank text."""
    words = text.split()
    for start in range(0, len(words), PASSAGE_WORDS):
        yield " ".join(words[start : start + PASSAGE_WORDS])
