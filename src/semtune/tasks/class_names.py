"""Class numbers into class names, where a data set says what its numbers mean (the hub's ClassLabel features)."""

from __future__ import annotations

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


def name_classes(rows: Sequence[tuple[str, dict[str, Any]]], column: str, feature: Any, source: str) -> bool:
    """Replace class numbers in `column` by their names, in place; whether there are names.

    -1 is the hub's convention for a hidden label and becomes None. Raises DataError for a number without a name.
    """
    names = class_names_of(feature)
    if names is None:
        return False

    def named(value: Any, where: str) -> Any:
        if isinstance(value, list):
            return [named(item, where) for item in value]
        if isinstance(value, float) and value.is_integer():  # a column of whole numbers that lacks some
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if value >= len(names):
            place = f"{source}, {where}" if where else source
            raise DataError(
                f'{place} has the class number {value} in column "{column}", which has {len(names)} class names; '
                "correct the number or the names."
            )
        return names[value] if value >= 0 else None

    for where, row in rows:
        if column in row:
            row[column] = named(row[column], where)
    return True


def _member(feature: Any, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)
