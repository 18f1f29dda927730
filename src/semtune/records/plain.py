"""Records as plain values, for JSON and YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar


class FlatRecord:
    """A record whose JSON form is not one key a field."""

    __slots__ = ()
    json_fields: ClassVar[Mapping[str, Any]] = {}
    """Key of the JSON form -> type hint of its value, for `records.checking`."""
    json_required: ClassVar[tuple[str, ...]] = ()
    """Keys that it must have."""
    json_others: ClassVar[Any] = None
    """Type hint of the values of all other keys; None: any."""

    def plain(self) -> Mapping[str, Any]:
        """The record as a mapping of plain values."""
        raise NotImplementedError


def to_plain(value: Any) -> Any:
    """A record as plain dicts, lists and scalars, for JSON or YAML; fields that are given per call are left out."""
    if isinstance(value, FlatRecord):
        return to_plain(value.plain())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not f.metadata.get("per_call")
        }
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value
