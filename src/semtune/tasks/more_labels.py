"""Columns beside the label column that hold labels too, as of other annotators, and that are not read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semtune.tasks.characters import is_blank
from semtune.tasks.number_forms import numbers_in
from semtune.tasks.remarks import shown
from semtune.tasks.table_files import RawTable
from semtune.tasks.yes_no import FALSE, TRUE

COLUMNS_SHOWN = 5
"""Number of columns that the note names."""
_FEWEST = 3
"""Cells that must differ from the label column's."""
_SHARE = 0.9
"""Share of a column's filled cells that must hold labels."""


def more_label_notes(table: RawTable, label_column: str, used: set[str | None]) -> tuple[str, ...]:
    """One note on the columns that hold labels too and do not say what the label column says; () where there is none.

    Labels that are numbers, or yes and no, tell nothing, as any column may hold these: there the name has to be the
    label column's with a number behind it.

    Args:
        used: further columns that are read.
    """
    said = [row.get(label_column) for _, row in table.rows]
    labels = {_plain(cell) for cell in said if _is_filled(cell)}
    telling = not all(label in TRUE or label in FALSE or numbers_in(label) for label in labels)
    found = [
        name
        for name in dict.fromkeys(table.columns)
        if name not in (*used, label_column)
        and (telling or _is_next(name, label_column))
        and _holds_others([row.get(name) for _, row in table.rows], said, labels)
    ]
    if not found:
        return ()
    more = f", … ({len(found)} columns)" if len(found) > COLUMNS_SHOWN else ""
    return (
        f"{table.source}: only the labels in column {shown(label_column)} were read, though "
        f"{', '.join(map(shown, found[:COLUMNS_SHOWN]))}{more} hold{'s' if len(found) == 1 else ''} labels too, other "
        "ones in some rows; if a text has several labels, write them into one column, as a list",
    )


def _holds_others(cells: Sequence[Any], said: Sequence[Any], labels: set[str]) -> bool:
    filled = [(_plain(cell), own) for cell, own in zip(cells, said, strict=True) if _is_filled(cell)]
    held = sum(cell in labels for cell, _ in filled)
    differ = sum(cell in labels and cell != _plain(own) for cell, own in filled)
    return differ >= _FEWEST and held >= _SHARE * len(filled)


def _is_next(name: str, label_column: str) -> bool:
    """Whether a column is called as the label column with a number behind it: label_2, label.1 (pandas)."""
    rest = name.casefold().removeprefix(label_column.casefold().rstrip("0123456789 _.-"))
    return rest != name.casefold() and rest.strip(" _.-").isdigit()


def _is_filled(cell: Any) -> bool:
    return isinstance(cell, str | int | float) and not is_blank(str(cell))


def _plain(cell: Any) -> str:
    return str(cell).strip().casefold()
