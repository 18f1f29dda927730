"""Values in memory as JSON has them: text, numbers, true and false, and lists of these; anything else is refused."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

from semtune.errors import DataError
from semtune.tasks.cell_kinds import flattening, kind_of_cell
from semtune.tasks.narrow_floats import narrow_type, shortest
from semtune.tasks.remarks import Remarks, shown

_NO_VALUES = ("m", "c", "V", "S")
"""NumPy's kinds of what is no label: durations (of which it makes bare numbers), complex numbers, records, bytes."""


def plain_value(cell: Any, where: str, remarks: Remarks | None = None) -> Any:
    """A cell as JSON has it: NumPy's scalars and arrays unpacked, what is missing as None, sets sorted.

    Dates, times and decimal numbers become text, which `remarks` notes; numbers of 16 and 32 bits
    become their shortest decimals.

    Args:
        where: names the cell in messages, such as "row 3".

    Raises DataError for what is neither text, a number, a date nor a list of them.
    """
    if cell is None or isinstance(cell, (str, bool, int)):
        return cell
    if isinstance(cell, float):
        return None if math.isnan(cell) else float(cell)
    if isinstance(cell, (set, frozenset)):
        return sorted((plain_value(item, where, remarks) for item in cell), key=str)
    if isinstance(cell, (list, tuple)):
        return [plain_value(item, where, remarks) for item in cell]
    if type(cell).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(cell, (datetime.date, datetime.time)):
        return _written(cell, "a time" if isinstance(cell, datetime.time) else "a date", where, remarks)
    if isinstance(cell, decimal.Decimal):
        return None if cell.is_nan() else _written(cell, "a number", where, remarks)
    kind = getattr(getattr(cell, "dtype", None), "kind", None)
    if (
        kind not in _NO_VALUES
        and not isinstance(cell, memoryview)
        and (hasattr(cell, "tolist") or hasattr(cell, "as_py"))
    ):
        return _unpacked(cell, kind, where, remarks)
    advice = flattening(cell) if isinstance(cell, (dict, datetime.timedelta)) else "give text, numbers or lists of them"
    raise DataError(f"{where[:1].upper()}{where[1:]} holds {kind_of_cell(cell)}; {advice}.")


def _unpacked(cell: Any, kind: str | None, where: str, remarks: Remarks | None) -> Any:
    """The plain form of a scalar or array of NumPy, pandas, torch or Arrow, element by element."""
    if hasattr(cell, "as_py"):
        return plain_value(cell.as_py(), where, remarks)
    if getattr(cell, "ndim", 0) > 0:
        return [plain_value(item, where, remarks) for item in cell]
    if kind == "M":
        found = _date_of(cell)
        return None if found is None else _written(found, "a date", where, remarks)
    value = float(cell) if kind == "f" else cell.tolist()  # tolist leaves numbers of 128 bits as they are
    narrow = narrow_type(str(getattr(cell, "dtype", "")))
    if isinstance(value, float) and narrow is not None and not math.isnan(value):
        value = shortest(value, narrow)
    return plain_value(value, where, remarks)


def _written(value: Any, what: str, where: str, remarks: Remarks | None) -> str:
    """`value`, which is `what`, as text; `remarks` notes that."""
    if remarks is not None:
        remarks.row(f"a label that is {what} was read as text", where, example=shown(str(value)))
    return str(value)


def _date_of(cell: Any) -> Any:
    """A NumPy datetime as Python's date or time, or as text where that has no such date; None where it is none."""
    import numpy as np

    if np.isnat(cell):
        return None
    found = cell.item()
    if isinstance(found, int):  # nanoseconds, or beyond Python's years
        micro = cell.astype("datetime64[us]")
        found = micro.item() if micro == cell else None
    has_days = isinstance(found, datetime.date) and np.datetime_data(cell.dtype)[0] not in ("Y", "M")
    return found if has_days else str(cell)
