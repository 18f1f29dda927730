"""Class numbers into class names, where a data set says what its numbers mean (the hub's ClassLabel features)."""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping, Sequence
from typing import Any

from semtune.errors import DataError


def class_names_of(feature: Any) -> Sequence[str] | None:
    """The class names of a feature or of the items of a list feature; None: its values are no class numbers.

    `feature` is an object of the `datasets` package, or its JSON form in the metadata of a Parquet file.
    """
    for candidate in (feature, _member(feature, "feature")):
        names = _member(candidate, "names")
        if names is not None and not isinstance(names, str) and all(isinstance(name, str) for name in names):
            return list(names)
    return None


_NUMERAL = re.compile(r"-?[0-9]{1,9}")


def name_classes(rows: Sequence[tuple[str, dict[str, Any]]], column: str, feature: Any, source: str) -> bool:
    """Replace class numbers in `column` by their names, in place; whether there were any.

    -1 is the hub's convention for a hidden label and becomes None. A number may also be a decimal, true or false, or a
    text that is no name, as the `datasets` package takes them too (`ClassLabel.str2int`). Raises DataError for a number
    without a name.
    """
    names = class_names_of(feature)
    if names is None:
        return False
    found = 0

    def named(value: Any, where: str) -> Any:
        nonlocal found
        if isinstance(value, list):
            return [named(item, where) for item in value]
        number = _class_number(value, names)
        if number is None:
            return value
        if not -1 <= number < len(names):  # -1 is how the hub marks a missing label
            place = f"{source}, {where}" if where else source
            raise DataError(
                f'{place} has the class number {number} in column "{column}", which has {len(names)} class names; '
                "correct the number or the names."
            )
        found += 1
        return names[number] if number >= 0 else None

    for where, row in rows:
        if column in row:
            row[column] = named(row[column], where)
    return found > 0


def _class_number(value: Any, names: Sequence[str]) -> int | None:
    """The class number that a value is or spells; None: it is none, such as a name."""
    if isinstance(value, str):
        return int(value) if value not in names and _NUMERAL.fullmatch(value) else None
    if isinstance(value, (int, float, decimal.Decimal)):  # a column of whole numbers that lacks some has floats
        return int(value) if value == value and value % 1 == 0 else None
    return None


def _member(feature: Any, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)
