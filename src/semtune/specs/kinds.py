"""One sentence about a value of another kind than its option needs, where YAML reads otherwise than people write.

YAML 1.1 reads a bare yes, no, on or off as true or false, and 3 or 2001-01-01 as no text, though each may be a label or
a column's name. What is of a wrong kind in any other way is left to pydantic.
"""

from __future__ import annotations

import datetime
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, cast

import yaml

from semtune.errors import OptionError

IN_STUDIES = {
    "model": "models", "method": "methods", "prompt": "prompts", "readout": "readouts", "seed": "seeds",
    "strategy": "strategies", "baseline": "baselines",
}  # fmt: skip
"""Option of a run -> the key of a study file that lists several values of it."""
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?(?:nan|inf|infinity)", re.IGNORECASE | re.ASCII)
"""A number as a text, from the command line or in quotes. (pydantic would also read "0-2", as -2.)"""
_SHOWN_CHARACTERS, _SHOWN_ITEMS = 60, 4
"""A longer text or list is cut in messages."""


def check_kinds(cls: type[Any], values: Mapping[str, Any], where: str) -> None:
    """Raises OptionError for the first of `values` whose kind the field of that name in the dataclass `cls` refuses."""
    alternatives_of = _alternatives_of_fields(cast("Any", cls))
    for name, value in values.items():
        if value is None:
            continue
        alternatives = alternatives_of[name]
        kinds = {_kind(hint) for hint in alternatives}
        if kinds == {"list"}:
            _check_list(alternatives[0], name, value, where)
        elif "other" not in kinds:
            _check_scalar(alternatives, f'{where}: "{name}"', f"{name}: ", value)


def yaml_reading(value: Any) -> str:
    """What YAML does with a bare word that it reads as `value`, as a clause; "" for anything but true and false."""
    if not isinstance(value, bool):
        return ""
    return f"YAML reads {'yes and on as true' if value else 'no and off as false'}"


def shown(value: Any) -> str:
    """A plain value in a message: a text in double quotes, and of a list or mapping only that it is one."""
    if isinstance(value, (list, tuple, Mapping)):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if isinstance(value, str):
        return f'"{value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"}"'
    return str(value)


def _check_list(hint: Any, name: str, value: Any, where: str) -> None:
    """Raises OptionError for a scalar or a set where a list is needed, and for an item of the wrong kind."""
    if isinstance(value, (set, frozenset)):  # whose order differs between processes
        raise OptionError(f'{where}: "{name}" must be a list, not a set, which has no order; give a list.')
    if isinstance(value, (str, bool, int, float, datetime.date)):
        items = [part.strip() for part in _word(value).split(",")]
        cut = [*items[:_SHOWN_ITEMS], "…"] if len(items) > _SHOWN_ITEMS else items
        as_list = yaml.safe_dump(cut, default_flow_style=True, allow_unicode=True, width=10**6).strip()
        raise OptionError(f'{where}: "{name}" must be a list, not {shown(value)}; write {name}: {as_list}.')
    alternatives = _alternatives(typing.get_args(hint)[0])
    if isinstance(value, (list, tuple)) and "other" not in map(_kind, alternatives):
        for number, item in enumerate(value, start=1):
            _check_scalar(alternatives, f'{where}: item {number} of "{name}"', "", item)


def _check_scalar(alternatives: tuple[Any, ...], subject: str, key: str, value: Any) -> None:
    """Raises OptionError for true or false where a number or text is needed, and for anything but a text for a text.

    Args:
        subject: the beginning of the sentence.
        key: what stands before the value in the file, such as "labels: ".
    """
    kinds = {_kind(hint) for hint in alternatives}
    read = f" ({yaml_reading(value)})" if isinstance(value, bool) else ""
    if "number" in kinds and read:
        raise OptionError(f"{subject} must be a number, not {value}{read}.")
    if "number" in kinds and "text" not in kinds:
        _check_number(alternatives, subject, key, value)
    if kinds != {"text"} or isinstance(value, str):
        return
    if isinstance(value, (bool, int, float, datetime.date)) or value is None:
        choices = [f'"{choice}"' for hint in alternatives for choice in typing.get_args(hint)]
        advice = f'put it in quotes, {key}"{_word(value)}"'
        if read:
            advice = f"if it has capitals, keep them; {advice}"
        if choices:
            advice = f"write {', '.join(choices[:-1])} or {choices[-1]}"
        raise OptionError(f"{subject} must be a text, not {value}{read}; {advice}.")
    if isinstance(value, (list, tuple, Mapping)):
        raise OptionError(f"{subject} must be a text, not {shown(value)}{_several(key)}.")


def _check_number(alternatives: tuple[Any, ...], subject: str, key: str, value: Any) -> None:
    """Raises OptionError for a list, a date, or a text that is no number, such as "0-2"."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return
    if isinstance(value, (str, list, tuple, Mapping, datetime.date)):
        whole = "a whole number" if float not in alternatives else "a number"
        raise OptionError(f"{subject} must be {whole}, not {shown(value)}{_several(key)}.")


def _several(key: str) -> str:
    """What to do about several values of an option of which a run has one, as a clause; `key` as for _check_scalar."""
    name = key.rstrip(": ")
    if name not in IN_STUDIES:
        return ""
    such = "[0, 1, 2]" if name == "seed" else "[…, …]"
    return f"; a run has one, and several belong to a study file, as {IN_STUDIES[name]}: {such}"


def _word(value: Any) -> str:
    """What a user may have written who meant a text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "null" if value is None else str(value)


def _kind(hint: Any) -> Literal["text", "number", "list", "other"]:
    """The kind of value that a type hint without alternatives stands for."""
    if hint is str or (typing.get_origin(hint) is Literal and all(isinstance(c, str) for c in typing.get_args(hint))):
        return "text"
    if hint in (int, float):
        return "number"
    arguments = typing.get_args(hint)
    is_list = typing.get_origin(hint) in (tuple, list) and (len(arguments) == 1 or arguments[1:] == (...,))
    return "list" if is_list else "other"


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union but None; of any other hint, itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(hint) if member is not types.NoneType)
    return (hint,)


@functools.cache
def _alternatives_of_fields(cls: type[Any]) -> dict[str, tuple[Any, ...]]:
    return {name: _alternatives(hint) for name, hint in typing.get_type_hints(cls).items()}
