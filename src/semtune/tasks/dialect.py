"""How a separated file is written: its separator, and what its quotes mean.

Both are named by the user, or found out by reading the file in each way and taking the one that fits all its lines.
Where two ways fit and give different tables, the file is refused with the option that decides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from semtune.errors import DataError, OptionError
from semtune.tasks.drawn import PIPE, hide_escaped_pipes, is_ruled, undrawn
from semtune.tasks.header import LINES, title_advice
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.separated import QUOTE, SEPARATORS, TAB, QuoteError, Quoting, Row, parse

NAMED_SEPARATORS = {"tab": TAB, "\\t": TAB, "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
OWN_SEPARATOR = {".tsv": TAB, ".tab": TAB, ".psv": "|"}
"""Suffix -> separator that it promises; all others promise a comma."""
QuotingOption = Literal["auto", "csv", "backslash", "none"]
_NUMBER_SIGN = re.compile(r"#\s*([,;\t|])\s*[^\s,;|]")
"""A header whose first cell is "#", a name for numbers."""
_QUOTED = re.compile(r'(^|[,;\t|\n]) *"(?:[^"]|"")*+"')
_ROW_LINES = 100
"""Lines within which a row is looked for."""
_EXCEL_LINE = re.compile(r"sep=(.)\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file read in one way."""

    rows: list[Row]
    quoting: Quoting
    remark: str | None = None
    """What a user must know of how quotes were taken."""

    @property
    def width(self) -> int:
        """The number of cells of the header."""
        return len(self.rows[0].cells) if self.rows else 0

    @property
    def rectangular(self) -> bool:
        """Whether every row that is not blank has as many cells as the header, or more that are empty."""
        width = self.width
        return all(row.blank or (len(row.cells) >= width and not any(row.cells[width:])) for row in self.rows)


def checked_separator(given: str) -> str:
    """The separator that --separator names. Raises OptionError."""
    separator = NAMED_SEPARATORS.get(given.lower(), given)
    if not separator or QUOTE in separator or "\n" in separator or "\r" in separator:
        raise OptionError(f'--separator cannot be {given!r}; give one such as ";", "|" or tab.')
    return separator


def read_rows(text: str, suffix: str, separator: str | None, quoting: QuotingOption, remarks: Remarks) -> list[Row]:
    """The rows of a separated file, header first; what was found out or left out is added to `remarks`.

    Args:
        text: the file's text, lines ended by "\\n".
        separator: None: found out.

    Raises:
        DataError: quotes that break their form, a table that can be read in two ways, or a separator that does not
            occur in the header while another one does.
    """
    body, first_line = text, 1
    named = _EXCEL_LINE.match(text)
    if named is not None:
        body, first_line = text[named.end() :], 2
        separator = separator or named[1]
    body, first_line = _without_comments(body, first_line, remarks)
    promised = OWN_SEPARATOR.get(suffix, ",")
    if separator is None:
        separator = _found_separator(body, promised, quoting, first_line)
        if separator != promised:
            remarks.general(f"read as separated by {_name(separator)}")
    else:
        _check_separator(body, separator, first_line, remarks.source)
    header = body.split("\n", 1)[0]
    spaced = len(header.split(separator)) == len(re.findall(re.escape(separator) + " +", header)) + 1 > 1
    spaced = spaced and separator != " "
    ruled = is_ruled(body, separator)
    if spaced and not ruled:
        remarks.general(f"the spaces after each {_name(separator).removesuffix('s')} were left out")
    unquoted = ruled and separator == PIPE and quoting == "auto"
    body = hide_escaped_pipes(body) if ruled and separator == PIPE else body
    form = "none" if unquoted else quoting
    reading = _read(body, separator, form, first_line, remarks.source, spaced=spaced)
    if ruled:
        reading = replace(reading, rows=undrawn(reading.rows, remarks))
    if unquoted:
        reading = _as_text(reading)
    if reading.remark:
        remarks.general(reading.remark)
    return reading.rows


def _without_comments(text: str, first_line: int, remarks: Remarks) -> tuple[str, int]:
    """`text` without blank lines and "#" lines above its header, and the header's line number.

    A "#" line that has as many cells as the line below, or whose first cell is "#" alone, is the header itself.
    """
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    header = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), start)
    if header > start and (width := _width(lines[header:])) > 1:
        if lines[header - 1].startswith("#") and _width(lines[header - 1 :]) == width:
            header -= 1
        header = next((i for i in range(start, header) if _NUMBER_SIGN.match(lines[i])), header)
        comments = [i for i in range(start, header) if lines[i].startswith("#")]
        if comments:
            remarks.general(f'"#" lines above the header were left out ({len(comments)} of them)')
        start = header
    return "\n".join(lines[start:]), first_line + start


def _width(lines: Sequence[str]) -> int:
    """Number of cells of the first row of `lines`, whose cells in quotes may hold separators and line ends."""
    row = _QUOTED.sub(r"\1", "\n".join(lines[:_ROW_LINES])).split("\n", 1)[0]
    return max(len(row.split(separator)) for separator in SEPARATORS)


def _found_separator(text: str, promised: str, quoting: QuotingOption, first_line: int) -> str:
    """The separator with which all rows have as many cells as the header; of several, the promised or widest one."""
    if is_ruled(text, PIPE):
        return PIPE
    header = text.split("\n", 1)[0]
    candidates = [s for s in sorted(SEPARATORS, key=lambda s: s != promised) if s in header]
    if len(candidates) < 2:
        return candidates[0] if candidates else promised
    best, best_rank = candidates[0], (False, 0)
    for separator in candidates:
        try:
            reading = _read(text, separator, quoting, first_line, "")
        except DataError:
            continue
        rank = (reading.rectangular and reading.width > 1, reading.width if reading.rectangular else 0)
        if separator == promised and rank[0]:
            return promised
        if rank > best_rank:
            best, best_rank = separator, rank
    return best


def _check_separator(text: str, separator: str, first_line: int, source: str) -> None:
    """Raises DataError where the header does not have `separator` but has one of the usual ones."""
    header, *below = text.split("\n", LINES + 1)[: LINES + 1]
    found = [s for s in SEPARATORS if s in header]
    if separator not in header and found:
        likely = max(found, key=header.count)
        if not all(likely in line for line in below if line.strip()):
            lines = enumerate([header, *below], start=first_line)
            advice = title_advice([(f"line {number}", line.split(separator)) for number, line in lines], ())
            if advice is not None:
                raise DataError(f"{source}: {advice}.")
        option = "tab" if likely == TAB else f'"{likely}"'
        raise DataError(
            f"{source} is not separated by {_name(separator)}: its header is {shown(header)}. It looks separated by "
            f"{_name(likely)}; name that with --separator {option}, or leave --separator out, so that each file's own "
            "is found."
        )


def _name(separator: str) -> str:
    return "tabs" if separator == TAB else f'"{separator}"'


def _read(
    text: str, separator: str, quoting: QuotingOption, first_line: int, source: str, *, spaced: bool = False
) -> _Reading:
    """`text` read with what its quotes mean. Raises DataError."""

    def attempt(kind: Quoting) -> _Reading:
        return _Reading(parse(text, separator, kind, first_line=first_line, spaced=spaced), kind)

    if quoting != "auto":
        try:
            return attempt(quoting)
        except QuoteError as error:
            raise DataError(
                f"{source}, line {error.line}: {error}; correct it there, or name another way than --quoting {quoting}."
            ) from error
    plain = attempt("none")
    if QUOTE not in text:
        return plain
    try:
        return _settled(attempt("csv"), plain, separator, source)
    except QuoteError as error:
        broken = error
    if '\\"' in text:
        try:
            reading = attempt("backslash")
            lines = [row.line for row in reading.rows if any(QUOTE in row.cells[i] for i in row.quoted)]
            remark = f'quotes inside cells are escaped as \\", and were read as such in {len(lines)} rows'
            return _Reading(reading.rows, "backslash", f"{remark} (first: line {lines[0]})" if lines else remark)
        except QuoteError:
            pass
    outer = _without_outer_quotes(plain)
    if outer is not None:
        return outer
    enclosed = [cell for row in plain.rows for cell in row.cells if _enclosed(cell)]
    header_quoted = any(_enclosed(cell) for cell in plain.rows[0].cells)
    if (separator == TAB and not header_quoted) or (plain.rectangular and not enclosed):
        return _as_text(plain)
    raise DataError(
        f'{source}, line {broken.line}: {broken}; write "" for a quote inside quotes, or say what quotes mean with '
        "--quoting none (they are characters of the text)."
    )


def _settled(reading: _Reading, plain: _Reading, separator: str, source: str) -> _Reading:
    """`reading`, whose quotes follow the csv form, unless they are rather characters of the text. Raises DataError."""
    swallowing = [row for row in reading.rows if row.lines > 1]
    if swallowing and plain.rectangular:
        rows_inside = _lines_are_rows(swallowing, plain)
        if separator == TAB and rows_inside:
            return _as_text(plain)
        if separator == TAB or rows_inside:
            row = swallowing[0]
            raise DataError(
                f"{source} can be read in two ways: the quote on line {row.line} opens a cell that ends on line "
                f"{row.line + row.lines - 1}, yet each of these lines could be a row of its own; say which with "
                "--quoting csv (one cell) or --quoting none (quotes are characters of the text)."
            )
    if separator == TAB and not _needs_quotes(reading):
        return _as_text(plain)
    return reading


def _without_outer_quotes(plain: _Reading) -> _Reading | None:
    """A file whose header and cells stand in quotes, with quotes inside cells left as they are; None: it is none."""
    quoted = [cell for row in plain.rows for cell in row.cells if cell.startswith(QUOTE)]
    header_quoted = any(_enclosed(cell) for cell in plain.rows[0].cells)
    if not header_quoted or not plain.rectangular or not all(_enclosed(cell) for cell in quoted):
        return None

    def bare(cell: str) -> str:
        return cell.strip()[1:-1].replace(QUOTE * 2, QUOTE) if _enclosed(cell) else cell

    rows = [row._replace(cells=[bare(cell) for cell in row.cells]) for row in plain.rows]
    lines = [row.line for row in rows if any(QUOTE in cell for cell in row.cells)]
    if not lines:
        return None
    remark = f"quotes inside quoted cells are not doubled, and were kept in {len(lines)} rows (first: line {lines[0]})"
    return _Reading(rows, "csv", remark)


def _as_text(plain: _Reading) -> _Reading:
    lines = [row.line for row in plain.rows for cell in row.cells if cell.startswith(QUOTE)]
    if not lines:
        return plain
    count = f"{len(lines)} cells begin" if len(lines) > 1 else "1 cell begins"
    remark = f"quotes were read as characters of the text ({count} with one, first: line {lines[0]}; see --quoting)"
    return _Reading(plain.rows, "none", remark)


def _enclosed(cell: str) -> bool:
    return len(cell) > 1 and cell.startswith(QUOTE) and cell.rstrip().endswith(QUOTE)


def _needs_quotes(reading: _Reading) -> bool:
    """Whether the quoted cells of a tab-separated file are quoted for a reason.

    Writers quote every cell of a column, or the cells that hold a quote, a tab or a line end. Spreadsheets also quote
    cells with a comma, and then all of them. A cell quoted for none of these reasons is a text in quotes.
    """
    if reading.rows[0].quoted:
        return True
    quoted = [row.cells[index] for row in reading.rows for index in row.quoted]
    if any(mark in cell for cell in quoted for mark in (QUOTE, TAB, "\n")):
        return True
    columns = Counter(index for row in reading.rows for index in row.quoted)
    if any(count >= sum(not row.blank for row in reading.rows) - 1 for count in columns.values()):
        return True
    bare = (cell for row in reading.rows for i, cell in enumerate(row.cells) if i not in row.quoted)
    return all("," in cell for cell in quoted) and not any("," in cell for cell in bare)


def _lines_are_rows(swallowing: Sequence[Row], plain: _Reading) -> bool:
    """Whether the lines inside quoted cells look like rows: some column has only values there that it has elsewhere."""
    inside = {line for row in swallowing for line in range(row.line, row.line + row.lines)}
    swallowed = [row.cells for row in plain.rows if row.line in inside]
    others = [row.cells for row in plain.rows[1:] if row.line not in inside and not row.blank]
    for column in range(plain.width):
        known = {cells[column].strip() for cells in others if len(cells) > column}
        if 1 < len(known) < len(others) and all(cells[column].strip(' "') in known for cells in swallowed):
            return True
    return False
