"""Frozen records from plain values (YAML, JSON, the command line), with one sentence about the first mistake."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.records import CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions
from semtune.records.declare import Bounds
from semtune.specs.kinds import IN_STUDIES, check_kinds, shown
from semtune.specs.naming import BoundsError

R = TypeVar("R")
_SHOWN_BELOW = 10**18
"""Whole numbers from here on are not written out in messages."""
_EXAMPLES = {
    "task_options": "data: reviews.csv",
    "method_options": "rank: 8",
    "readout_options": "max_new_tokens: 20",
    "optimizer_options": "rank: 32",
}


def record_from(cls: type[R], values: Mapping[str, Any], where: str) -> R:
    """A record of type `cls` from plain values.

    Args:
        where: names the values in messages, e.g. "studies/demo.yaml".

    Raises:
        UnknownNameError: a key that the record does not have.
        OptionError: a value of the wrong type or outside its option's bounds, a missing one, or values that are no
            mapping.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{where} must be a mapping of names to values, not {shown(values)}.")
    check_keys(values, [f.name for f in dataclasses.fields(cls)], where)  # type: ignore[arg-type]
    check_kinds(cls, values, where)
    try:
        record: R = _adapter(cast("Any", cls)).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("missing", "missing_argument"):
            raise OptionError(f'{where} lacks "{key}"; add it.') from error
        raise OptionError(f'{where}: "{key}" cannot be {first["input"]!r}: {first["msg"].lower()}.') from error
    _check_bounds(record, where)
    return record


def _check_bounds(record: Any, where: str) -> None:
    """One sentence about the first number outside the bounds that its option declares, or NaN or infinite.

    Options that have a flag are named by it. Raises OptionError.
    """
    for field in dataclasses.fields(record):
        value, bounds = getattr(record, field.name), field.metadata.get("bounds")
        if bounds is None or isinstance(value, bool) or not isinstance(value, (int, float)) or bounds.contain(value):
            continue
        name, unit = f'{where}: "{field.name}"', f" {field.metadata['unit'] or ''}".rstrip()
        plain = reason = _outside(bounds, value, "{:,}".format, unit)
        if field.name in _flagged():
            name = "--" + field.name.replace("_", "-")
            if field.name.endswith("_bytes"):
                name, reason = name.removesuffix("-bytes") + "-gb", _outside(bounds, value, _gigabytes, "")
        raise BoundsError(name, reason, key=field.name, where=where, in_file=plain)


def _outside(bounds: Bounds, value: float, show: Callable[[float], str], unit: str) -> str:
    """Why a number is refused; `show` writes numbers."""
    shown = show(value) if isinstance(value, float) or abs(value) < _SHOWN_BELOW else "a number of that size"
    return f"must be {bounds.words(show)}{unit}, not {shown}."


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:,g}"


def mapping_from(values: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The options that stand under `key` (`method_options`, …), {} where there are none. Raises OptionError."""
    value = values.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        example = _EXAMPLES.get(key, "NAME: VALUE")
        raise OptionError(
            f'{where}: "{key}" must be a mapping of names to values, such as {key}: {{{example}}}, not {shown(value)}.'
        )
    return dict(value)


@functools.cache
def _flagged() -> frozenset[str]:
    """Names of the options that have a command-line flag of their own."""
    records = (RunSpec, LowRankSettings, CommonReadoutOptions, TaskOptions)
    return frozenset(field.name for record in records for field in dataclasses.fields(record))


def check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raises UnknownNameError for the first key of `values` that is not in `known`."""
    for key in values:
        if key not in known:
            raise unknown_key(key, known, where)


def unknown_key(key: str, known: Sequence[str], where: str) -> UnknownNameError:
    """The error about a key of `where` that is not among `known`."""
    if "task_options" in known and key in {field.name for field in dataclasses.fields(TaskOptions)}:
        return UnknownNameError(f'{where} has "{key}" at its top level; write it under task_options.')
    single = next((name for name, several in IN_STUDIES.items() if several == key and name in known), None)
    if single is not None:
        return UnknownNameError(f'{where} has "{key}", which belongs to a study file; a run has one "{single}".')
    return UnknownNameError(f'{where} has an unknown key "{key}"; {did_you_mean(str(key), known)}')


@functools.cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """pydantic's validator of a dataclass; making one takes milliseconds, and plans ask often."""
    return TypeAdapter(cls)
