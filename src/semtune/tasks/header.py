"""What a table's header does not fit: titles of exports above it, row names in front, and columns without a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from semtune.tasks.characters import is_blank, visible
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.separated import SEPARATORS, Row

LINES = 10
"""Number of lines below the first one in which a header is looked for."""

TEXT_COLUMNS = ("text",)
LABEL_COLUMNS = ("label", "labels")
"""Column names to look for where the user names none."""
_USUAL_NAMES = frozenset({*TEXT_COLUMNS, *LABEL_COLUMNS, "id"})

_ROW_NAME = re.compile(r"[0-9]+(?:\.[0-9]+)*")
"""A row's number, as R writes it; "3.1" stands for a repeated 3."""
Lines = Sequence[tuple[str, Sequence[str]]]
"""(location, cells) of the first lines of a table, the one that is taken for its header first."""


def title_advice(lines: Lines, wanted: Iterable[str]) -> str | None:
    """A sentence without its stop that says where the header seems to be; None: nothing looks like it below the first.

    Args:
        lines: the table's first lines.
        wanted: names of columns that the header should have.
    """
    names = {name.casefold() for name in wanted}
    (first, header), *below = lines
    if not names.isdisjoint(_parts(header)):
        return None
    named = [
        where
        for where, cells in below[:LINES]
        if not names.isdisjoint(_parts(cells))
        and (_filled(cells) > _filled(header) or len((names | _USUAL_NAMES) & _parts(cells)) > 1)
    ]
    if len(named) == 1:  # a name that stands in several lines is a value
        return (
            f"{first} ({_title(header)}) is not the header, which seems to be {named[0]}; delete what stands above that"
        )
    full = _first_of_full_width(header, below)
    if full is None:
        return None
    cell = "cell" if len(header) == 1 else "filled cell"
    said = (
        f"{first} ({_title(header)}) has one {cell}, and those below have more; if it is a title, delete it, so that "
        f"the header comes first (it seems to be {full})"
    )
    if len(header) > 1:
        return f"{said}; if it is the header, fill its other cells"
    return (
        f'{said}; if it is the header, put "quotes" around cells that hold a separator, or name another separator with '
        "--separator"
    )


def _filled(cells: Sequence[str]) -> int:
    return sum(not is_blank(cell) for cell in cells)


def _parts(cells: Sequence[str]) -> set[str]:
    """The cells in a form to be compared; a single one also in the parts that it would have with a usual separator."""
    filled = [cell for cell in cells if not is_blank(cell)]
    if len(filled) == 1:
        filled += [part for separator in SEPARATORS for part in filled[0].split(separator)]
    return {visible(cell).strip("\"'").casefold() for cell in filled}


def _first_of_full_width(header: Sequence[str], below: Lines) -> str | None:
    """The first line that is as wide as most, where the first line of all has one filled cell and most have more.

    A line ends with its last filled cell: spreadsheets fill a title's line with separators.
    """
    widths = [
        (where, max(n for n, cell in enumerate(cells, 1) if not is_blank(cell)))
        for where, cells in below
        if _filled(cells)
    ]
    if _filled(header) != 1 or not widths:
        return None
    width, _ = Counter(width for _, width in widths).most_common(1)[0]
    return next(where for where, own in widths if own == width) if width > 1 else None


def _title(header: Sequence[str]) -> str:
    return shown(" ".join(cell.strip() for cell in header if not is_blank(cell)))


def row_names_advice(width: int, records: Sequence[Row]) -> str | None:
    """What to do where each row begins with a number of its own that the header has no name for; None: none does."""
    filled = [record.cells for record in records if not record.blank]
    first = [cells[0].strip() for cells in filled if len(cells) == width + 1]
    if len(first) < len(filled) or len(set(first)) < len(first) or not all(map(_ROW_NAME.fullmatch, first)):
        return None
    return (
        "each row has one cell more than the header, a number in front, as R's write.table writes row names; "
        "write the file with row.names = FALSE, or put a name for that column and a separator before the header"
    )


def stray_cell(names: Sequence[str], rows: Iterable[Row], remarks: Remarks) -> str | None:
    """What lies behind the last named column in some rows and not in others, as a half sentence; None: nothing.

    A separator inside a text leaves it there. Cells of other columns without a name are remarked, but for a full
    column before a named one: it numbers the rows, as pandas and R write it.
    """
    last = max((i for i, name in enumerate(names) if name), default=len(names))
    filled = [row for row in rows if not row.blank]
    full: dict[int, list[Row]] = {}
    for row in filled:
        for i, cell in enumerate(row.cells[: len(names)]):
            if not names[i] and not is_blank(cell):
                full.setdefault(i, []).append(row)
    behind = [row for row in filled if not all(map(is_blank, row.cells[last + 1 : len(names)]))]
    if 0 < len(behind) < len(filled):
        row = behind[0]
        i = next(i for i in range(last + 1, len(names)) if not is_blank(row.cells[i]))
        return (
            f"a column lacks its name: line {row.line} has {shown(row.cells[i].strip())} in column {i + 1}, for which "
            f"the header has no name and which is empty in {len(filled) - len(full[i])} of {len(filled)} rows"
        )
    for i, held in full.items():
        if i > last or len(held) < len(filled):
            remarks.row(f"a cell of column {i + 1}, which has no name, was left out", f"line {held[0].line}", len(held))
    return None
