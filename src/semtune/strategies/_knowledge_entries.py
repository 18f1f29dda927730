"""Entries of external text, as they stand in files.

A table (any format that `--data` reads, but .txt) has an entry in each row: its text in a column named text, entry,
definition, meaning, body or content; its date in the column of `--date-column`'s name or one of `DATE_COLUMNS`; its
title in title, term, word or name. In Markdown (.md) paragraphs and list items are entries, with the nearest heading
above them as their title; in any other text, paragraphs are. There a date stands at the beginning of an entry, in a
line of its own, or in a heading above it; Markdown's front matter may have one, and a title, for the whole file. A
month, quarter or year counts as its last day.

Dates have the form 2021-03-05 (a time may follow) or one of `tasks.written_dates`. Paragraphs of more than 120 words
are cut into passages of as many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.strategies._front_matter import front_matter, without_comments
from semtune.tasks.cells import text_of
from semtune.tasks.dates import plain_date
from semtune.tasks.decoding import decode_file
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.separated import SEPARATORS
from semtune.tasks.table_files import LINES_SUFFIX, SUFFIXES, RawTable, read_table, suffix_of
from semtune.tasks.written_dates import Span, cell_date, period_without_year, written_dates, written_periods

TEXT_COLUMNS = ("text", "entry", "definition", "meaning", "body", "content")
DATE_COLUMNS = ("date", "published")
OTHER_DATE_COLUMNS = (
    *("published_at", "published_date", "publication_date", "pub_date", "date_published", "publish_date"),
    *("created_at", "created", "created_utc", "created_on", "date_created", "creation_date", "posted_at", "posted"),
    *("updated_at", "updated", "modified", "timestamp", "datetime", "date_time", "time", "day"),
)
"""Columns that are read as dates where their cells are some, in this order of preference."""
TITLE_COLUMNS = ("title", "term", "word", "name")
TABLES = tuple(suffix for suffix in SUFFIXES if suffix != LINES_SUFFIX)
MARKDOWN = (".md", ".markdown")
PASSAGE_WORDS = 120
HEADER_WORDS = 3
"""A name of a column has at most so many words."""
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_OWN_LINE = 7
"""The level of a date in a paragraph of its own: below all headings."""
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+(.*)")
_LEADING_DATE = re.compile(r"\W*(\d{4}-\d{2}-\d{2})(?:T[\d:.Z+-]*)?\W*")
_BEFORE, _BEHIND = re.compile(r"\W*"), re.compile(r"\W*$|\s*[^\w\s,.]\W*")


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
        return {key: value for key, value in asdict(self).items() if value}


def read_entries(path: Path, date_column: str | None) -> tuple[list[KnowledgeEntry], tuple[str, ...]]:
    """The entries of a file, and what reading it left out or converted. Arguments and errors: see `Knowledge.read`."""
    if path.is_dir():
        raise DataError(f"--knowledge {path} is a folder, but a file is needed; name the file.")
    suffix, remarks = suffix_of(path), Remarks(str(path))
    if suffix in TABLES:
        table = read_table(path, TaskOptions(), encoding_option=False)  # --encoding is about the task's data
        entries, notes = list(_rows(table, date_column, remarks)), table.notes
    else:
        decoded = decode_file(path)
        _check_no_table(decoded.text, path)
        entries, notes = [*_paragraphs(decoded.text, path, remarks, markdown=suffix in MARKDOWN)], decoded.notes
    return entries, (*notes, *remarks.notes)


def _rows(table: RawTable, given_date_column: str | None, remarks: Remarks) -> Iterator[KnowledgeEntry]:
    """The rows of a table with a text; those without are counted in `remarks`. Raises DataError."""
    text_column = _column(table, TEXT_COLUMNS)
    if text_column is None:
        raise DataError(
            f"--knowledge {table.source} has no column of text (one of {', '.join(TEXT_COLUMNS)}; its columns: "
            f"{', '.join(table.columns)}); name one so."
        )
    named = DATE_COLUMNS if given_date_column is None else (given_date_column, *DATE_COLUMNS)
    date_column, title_column = _column(table, named), _column(table, TITLE_COLUMNS)
    certain = date_column is not None
    date_column = date_column or _other_date_column(table, remarks)
    for where, row in table.rows:
        date = _date(row, date_column, f"{table.source}, {where}", certain=certain) if date_column else None
        if date is None and not certain and _written(row, date_column):
            remarks.row(f'column "{date_column}" has no date of a known form, such as 2021-03-05,', where)
        title = _cell(row.get(title_column), title_column, where, remarks) if title_column else ""
        text = _cell(row.get(text_column), text_column, where, remarks)
        if not text:
            remarks.row(f'a row without text in column "{text_column}" was left out', where)
        for number, passage in enumerate(_passages(text)):
            yield KnowledgeEntry(where if number == 0 else f"{where}.{number + 1}", passage, title, date)


def _column(table: RawTable, usual: Sequence[str]) -> str | None:
    """The first usual column that the table has. Raises DataError for a name that several columns have."""
    by_name = {_key(column): column for column in reversed(table.columns)}
    found = next((by_name[_key(name)] for name in usual if _key(name) in by_name), None)
    if found is not None and found in table.repeated:
        raise DataError(
            f'--knowledge {table.source} has {table.repeated[found]} columns called "{found}"; give each a name of its '
            "own."
        )
    return found


def _key(column: str) -> str:
    """What is common to "created_at", "Created At" and "createdAt"."""
    return re.sub(r"[\W_]+", "", column.casefold())


def _other_date_column(table: RawTable, remarks: Remarks) -> str | None:
    """The first of `OTHER_DATE_COLUMNS` in which there are dates."""
    present = [column for name in OTHER_DATE_COLUMNS if (column := _column(table, [name]))]
    dated = [c for c in present if any(cell_date(_written(row, c)) for _, row in table.rows)]
    if dated[1:]:
        remarks.general(f'dates are read from column "{dated[0]}", and not from {", ".join(map(shown, dated[1:]))}')
    return next(iter((*dated, *present)), None)


def _written(row: Mapping[str, Any], column: str | None) -> str:
    value = None if column is None else row.get(column)
    return "" if value is None or value != value else str(value).strip()


def _date(row: Mapping[str, Any], column: str, where: str, *, certain: bool) -> str | None:
    """The date in a row. Raises DataError for one of another form in a column that is `certain` to hold dates."""
    written = _written(row, column)
    return cell_date(written) or (plain_date(written, where) if certain else None)


def _cell(value: Any, column: str, where: str, remarks: Remarks) -> str:
    """A cell's text on one line, "" where there is none; a number is written out. Raises DataError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        remarks.row("a number was read as text", where)
        value = str(value)
    text = text_of(value, column, where, remarks, advice="write each entry as one string")
    return "" if text is None else " ".join(text.split())


def _check_no_table(text: str, path: Path) -> None:
    """Raises DataError for a table in a file whose suffix says that it is text."""
    first, second = (*(line.strip() for line in text.lstrip().split("\n", 2)[:2]), "", "")[:2]
    names: list[str] = []
    for separator in SEPARATORS:
        cells = [cell.strip(" \"'*") for cell in first.strip("|").split(separator)]
        if 1 < len(cells) <= second.strip("|").count(separator) + 1 and all(
            len(c.split()) <= HEADER_WORDS for c in cells
        ):
            names += [name for name in cells if _key(name) in TEXT_COLUMNS]
    if names or (first.startswith(("{", "[{")) and '":' in first):
        what = f'its first line names a column "{names[0]}"' if names else "its first line is JSON"
        raise DataError(
            f"--knowledge {path} seems to be a table ({what}), which its suffix does not say; call it "
            f"{'.csv or .tsv' if names else '.jsonl or .json'}, so that each row is an entry."
        )


def _paragraphs(text: str, path: Path, remarks: Remarks, *, markdown: bool) -> Iterator[KnowledgeEntry]:
    """The paragraphs of a text file; in Markdown, list items by themselves, under their headings.

    A date in a heading counts for what is below it, also below headings of lower levels without a date. So does one
    in a paragraph of its own, up to the next heading.
    """
    title, dates = "", dict[int, Span | None]()
    if markdown:
        fields, text = front_matter(text)
        title, date = _front(fields, remarks)
        dates[0] = None if date is None else (date, date)  # above all headings
        if (plain := without_comments(text)) != text:
            remarks.general("comments of HTML were left out")
            text = plain
    for line, block in _blocks(text, markdown=markdown):
        heading = _HEADING.fullmatch(block) if markdown else None
        where = f"{path}, line {line}"
        if heading is not None:
            level = len(heading[1])
            dates = {above: date for above, date in dates.items() if above < level}
            date, title = _heading_date(heading[2], where)
            dates[level] = (date, date) if date else _period(heading[2], _latest(dates), f"line {line}", remarks)
            continue
        date, rest = _leading_date(block, where)
        span = (date, date) if date else _period(block, _latest(dates), f"line {line}", remarks, leading=True)
        if span is not None and not (rest.strip() if date else _without_period(block)):
            dates[_OWN_LINE] = span
            continue
        span = span or _latest(dates)
        for number, passage in enumerate(_passages(rest)):
            place = f"line {line}" if number == 0 else f"line {line}.{number + 1}"
            yield KnowledgeEntry(place, passage, title, None if span is None else span[1])


def _front(fields: Mapping[str, Any], remarks: Remarks) -> tuple[str, str | None]:
    """Title and date of a file's front matter."""
    if not fields:
        return "", None
    by_name = {_key(name): value for name, value in fields.items()}
    title = next((str(by_name[name]) for name in TITLE_COLUMNS if by_name.get(name)), "")
    named = (str(by_name[_key(name)]) for name in (*DATE_COLUMNS, *OTHER_DATE_COLUMNS) if _key(name) in by_name)
    date = next(filter(None, map(cell_date, named)), None)
    read = " and ".join([f"the title {shown(title)}"] * bool(title) + [f"the date {date}"] * (date is not None))
    remarks.general(f"front matter: {read or 'neither title nor date'} taken for all entries, and nothing else read")
    return title, date


def _latest(dates: Mapping[int, Span | None]) -> Span | None:
    """The date of the lowest level that has one."""
    return next((found for _, found in sorted(dates.items(), reverse=True) if found), None)


def _period(text: str, above: Span | None, line: str, remarks: Remarks, *, leading: bool = False) -> Span | None:
    """The period that a heading names (of several the latest), or that stands at the beginning of a paragraph.

    One without a year is that of the date `above` it, or of the year after. A period that begins before the date above
    makes nothing older. None: it names none.
    """
    begin = _BEFORE.match(text)
    starts = None if not leading or begin is None else begin.end()
    named = [span for start, _, span in written_periods(text) if starts in (None, start)]
    own = max(named, key=lambda span: span[1], default=None)
    if own is None and above is not None and not leading:
        own = period_without_year(text, above[0])
    if own is None:
        return None
    if above is not None and own[0] < above[0]:
        own = above[0], max(own[1], above[1])
    what = "an incomplete date (a year, quarter or month, or one without its year) was read as a period's last day"
    remarks.row(what, line, example=f"{shown(text)} as {own[1]}")
    return own


def _without_period(text: str) -> str:
    """What a paragraph holds beside the periods it names, without marks."""
    for start, end, _ in written_periods(text):
        text = text[:start] + " " * (end - start) + text[end:]
    return re.sub(r"[\W_]+", "", text)


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
    """The date at the beginning of `text`, and what follows it. Raises DataError for one that is in no calendar.

    A date in words that a sentence goes on with is left in it.
    """
    found = _LEADING_DATE.match(text)
    if found is not None:
        return plain_date(found[1], where), text[found.end() :]
    begin = _BEFORE.match(text)
    first = next((d for d in written_dates(text) if begin is not None and d[0] == begin.end()), None)
    if first is None:
        return None, text
    behind = _BEHIND.match(text, first[1])
    return first[2], text if behind is None else text[behind.end() :]


def _heading_date(text: str, where: str) -> tuple[str | None, str]:
    """The date in a heading (of several the latest, so that nothing is taken for older), and the title without it."""
    date, title = _leading_date(text, where)
    dates = [found for _, _, found in written_dates(text)]
    return max([*dates, date or ""]) or None, title


def _passages(text: str) -> Iterator[str]:
    """`text` in pieces of at most `PASSAGE_WORDS` words; none for a blank text."""
    words = text.split()
    for start in range(0, len(words), PASSAGE_WORDS):
        yield " ".join(words[start : start + PASSAGE_WORDS])
