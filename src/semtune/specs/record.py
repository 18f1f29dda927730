"""Frozen records from plain values (YAML, JSON, the command line), with one sentence about the first mistake."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from semtune.errors import OptionError, UnknownNameError, did_you_mean

R = TypeVar("R")


def record_from(cls: type[R], values: Mapping[str, Any], where: str) -> R:
    """A record of type `cls` from plain values.

    Args:
        where: names the values in messages, e.g. "studies/demo.yaml".

    Raises:
        UnknownNameError: a key that the record does not have.
        OptionError: a value of the wrong type, a missing one, or values that are no mapping.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where} must be a mapping of names to values, not {values!r}.")
    check_keys(values, [f.name for f in dataclasses.fields(cls)], where)  # type: ignore[arg-type]
    try:
        record: R = _adapter(cast("Any", cls)).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("missing", "missing_argument"):
            raise OptionError(f'{where} lacks "{key}"; add it.') from error
        raise OptionError(f'{where}: "{key}" cannot be {first["input"]!r}: {first["msg"].lower()}.') from error
    return record


def check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raises UnknownNameError for the first key of `values` that is not in `known`."""
    for key in values:
        if key not in known:
            raise UnknownNameError(f'{where} has an unknown key "{key}"; {did_you_mean(str(key), known)}')


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """pydantic's validator of a dataclass; making one takes milliseconds, and plans ask often."""
    return TypeAdapter(cls)
