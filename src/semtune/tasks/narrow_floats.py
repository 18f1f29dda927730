"""Numbers of 16 or 32 bits as their shortest decimals: fp32's 0.1 is 0.1, not 0.10000000149011612.

A label is what the data's author wrote, and a narrow type that a program chose in between adds digits to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = {"float16": "float16", "half": "float16", "halffloat": "float16", "float32": "float32", "float": "float32"}
"""What NumPy, pandas, Arrow and the datasets package call a narrow type -> NumPy's name of it."""


def narrow_type(name: str) -> str | None:
    """NumPy's name of the narrow type called `name`, such as "float[pyarrow]" or "torch.float32"; None: it is none."""
    return _NAMES.get(name.partition("[")[0].rpartition(".")[2].lower())


def shortest(value: float, type_name: str) -> float:
    """The shortest decimal that is `value` in a narrow type, one that `narrow_type` gives.

    >>> shortest(0.10000000149011612, "float32")
    0.1
    """
    import numpy as np

    return float(str(np.dtype(type_name).type(value)))


def shorten_column(rows: Iterable[tuple[str, dict[str, Any]]], column: str, feature: Any) -> None:
    """Shorten the numbers of a column in place, alone or in lists, if `feature` of the datasets package is narrow."""
    inner = getattr(feature, "feature", feature)
    type_name = narrow_type(str(getattr(inner, "dtype", "")))
    if type_name is None:
        return
    for _, row in rows:
        if column in row:
            row[column] = _shortened(row[column], type_name)


def widen(table: pa.Table) -> pa.Table:
    """`table` with its columns of narrow numbers, alone or in lists, as fp64 with the shortest decimals."""
    import pyarrow as pa

    kinds = pa.types
    for index, column in enumerate(table.schema):
        found = column.type
        in_lists = kinds.is_list(found) or kinds.is_large_list(found) or kinds.is_fixed_size_list(found)
        number = found.value_type if in_lists else found
        text, wide = (pa.list_(pa.string()), pa.list_(pa.float64())) if in_lists else (pa.string(), pa.float64())
        if kinds.is_float32(number):
            plain = table.column(index).cast(pa.list_(number)) if in_lists else table.column(index)
            table = table.set_column(index, column.name, plain.cast(text).cast(wide))
        elif kinds.is_float16(number):  # which Arrow writes as no text
            values = _shortened(table.column(index).to_pylist(), "float16")
            table = table.set_column(index, column.name, pa.array(values, wide))
    return table


def _shortened(value: Any, type_name: str) -> Any:
    """`value`, a number or a list, with the shortest decimals; anything else as it is."""
    if isinstance(value, list):
        return [_shortened(item, type_name) for item in value]
    return shortest(value, type_name) if isinstance(value, float) else value
