"""Whether plain values from a JSON file are what a record declares: one sentence about the first that is not.

People edit records, join them by hand, and write them with programs of their own. So whatever reads one checks it here
against the type hints of its dataclass before it uses a value; a number has the bounds of its hint (`quantities`), and
a record whose JSON form is not one key a field declares that form itself (`FlatRecord.json_fields`). Keys that the
record does not declare are left to the reader.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from semtune.errors import DataError
from semtune.records.declare import Bounds
from semtune.records.plain import FlatRecord
from semtune.records.quantities import UNMEASURED

ADVICE = "correct it, or run it again"
_LARGEST = 1e100
"""A larger finite figure is no measurement, and means of such numbers overflow."""
_SHOWN_CHARACTERS = 60
_SHOWN_BELOW = 10**18


@dataclass(frozen=True, slots=True)
class Keys:
    """In the hint of a mapping, the keys that it must have."""

    names: tuple[str, ...]


class _WrongError(Exception):
    """What is wrong, as a clause."""


def check_record(cls: type[Any], value: Any, where: str, advice: str = ADVICE) -> None:
    """Raises DataError for the first value that is not of the kind, or within the bounds, that `cls` declares.

    Args:
        value: the JSON form of the record.
        where: names it in the message, e.g. "run 2 of out/study.json".
        advice: what the user can do, without a final stop.
    """
    check_value(cls, value, where, advice=advice)


def check_value(hint: Any, value: Any, where: str, path: str = "", *, advice: str = ADVICE) -> None:
    """As `check_record`, for a value at `path` (such as "scores.test") of which `hint` is the type hint."""
    try:
        _check(hint, value, path)
    except _WrongError as wrong:
        raise DataError(f"{where} is broken ({wrong}); {advice}.") from None


def _check(hint: Any, value: Any, path: str) -> None:
    alternatives = _alternatives(hint)
    if value is None and any(kind is types.NoneType for kind, _ in alternatives):
        return
    kinds = [(kind, marks) for kind, marks in alternatives if kind is not types.NoneType]
    if len(kinds) > 1:
        if not any(_fits(kind, marks, value, path) for kind, marks in kinds):
            raise _wrong(path, " or ".join(_words(kind, marks) for kind, marks in kinds), value)
        return
    _check_one(*kinds[0], value, path)


def _check_one(kind: Any, marks: tuple[Any, ...], value: Any, path: str) -> None:
    """Check a value against one type hint without alternatives; `marks`: what stands beside it in `Annotated`."""
    if not _has_kind(kind, marks, value):
        raise _wrong(path, _words(kind, marks), value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (str, Any):
        _check_characters(value, path)
    elif isinstance(kind, type) and issubclass(kind, FlatRecord):
        _check_keys(kind.json_fields, kind.json_required, kind.json_others, value, path)
    elif dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
        _check_keys(_hints(cast("Any", kind)), required, None, value, path)
    elif origin is tuple:
        hints = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        for number, (hint, item) in enumerate(zip(hints, value, strict=True)):
            _check(hint, item, f"{path}[{number}]")
    elif _is_mapping(kind):
        _check_keys({}, [name for mark in marks if isinstance(mark, Keys) for name in mark.names], None, value, path)
        for key, item in value.items():
            _check(arguments[1], item, _joined(path, key))


def _check_keys(
    hints: Mapping[str, Any], required: Iterable[str], others: Any, value: Mapping[str, Any], path: str
) -> None:
    """Check the keys of a mapping by their hints; `others`: the hint of all further keys, None: any."""
    for name in required:
        if name not in value:
            raise _WrongError(f"there is no '{_joined(path, name)}'")
    for key, item in value.items():
        _check_characters(key, path or key)
        if key in hints:
            _check(hints[key], item, _joined(path, key))
        elif others is not None:
            _check(others, item, _joined(path, key))


def _check_characters(value: Any, path: str) -> None:
    """Half of a surrogate pair can be written in JSON ("\\ud800") and in no file."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _WrongError(
                f'"{path}" has a character that is none in Unicode'.encode(errors="replace").decode()
            ) from None
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_characters(key, path)
            _check_characters(item, _joined(path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_characters(item, f"{path}[{number}]")


def _fits(kind: Any, marks: tuple[Any, ...], value: Any, path: str) -> bool:
    try:
        _check_one(kind, marks, value, path)
    except _WrongError:
        return False
    return True


def _has_kind(kind: Any, marks: tuple[Any, ...], value: Any) -> bool:
    """Whether the value itself, its content aside, is of a kind."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if kind in (int, float):
        if UNMEASURED in marks and isinstance(value, float) and not math.isfinite(value):
            return True
        return _is_number(kind, value) and all(mark.contain(value) for mark in marks if isinstance(mark, Bounds))
    if origin is tuple:
        return isinstance(value, list) and (arguments[1:] == (...,) or len(value) == len(arguments))
    if dataclasses.is_dataclass(kind) or _is_mapping(kind):
        return isinstance(value, Mapping)
    return isinstance(value, kind)


def _is_number(kind: Any, value: Any) -> bool:
    """Whether a value is a number; a whole one may be written as 3.0. NaN is one: a metric may be undefined."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if kind is int:
        return isinstance(value, int) or value.is_integer()
    return abs(value) <= _LARGEST or (isinstance(value, float) and not math.isfinite(value))


def _is_mapping(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _words(kind: Any, marks: tuple[Any, ...]) -> str:
    """What a kind is called in a message."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if kind in (int, float):
        bounds = "".join(f" {mark.words()}" for mark in marks if isinstance(mark, Bounds))
        return f"a {'whole ' if kind is int else ''}number{bounds}"
    if origin is tuple:
        return "a list" if arguments[1:] == (...,) else f"a list of {len(arguments)}"
    return {str: "a text", bool: "true or false"}.get(kind, "a mapping")


def _wrong(path: str, expected: str, value: Any) -> _WrongError:
    name = f'"{path}"' if path else "it"
    return _WrongError(f"{name} must be {expected}, not {_shown(value)}".encode(errors="replace").decode())


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"}"'
    if isinstance(value, (list, Mapping)):
        return "a list" if isinstance(value, list) else "a mapping"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, float) or abs(value) < _SHOWN_BELOW else "a number of that size"


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@functools.cache
def _alternatives(hint: Any, marks: tuple[Any, ...] = ()) -> tuple[tuple[Any, tuple[Any, ...]], ...]:
    """The members of a union, or the hint itself, each with what stands beside it in `Annotated`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        inner, *more = typing.get_args(hint)
        return _alternatives(inner, (*marks, *more))
    if origin in (typing.Union, types.UnionType):
        return tuple(found for member in typing.get_args(hint) for found in _alternatives(member, marks))
    return ((hint, marks),)


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
