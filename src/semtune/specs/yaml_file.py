"""YAML files of plain values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from semtune.errors import OptionError, first_line
from semtune.runtime.files import no_file, read_text, write_text


def read_yaml(path: Path, example: str = "`task: practice`, one key a line") -> dict[str, Any]:
    """A YAML file that is a mapping of plain values.

    Top-level keys that begin with "x-" are left out: they hold what the file's anchors refer to, as in compose files.

    Args:
        example: what such a file has, for the message about one that is no mapping.

    Raises OptionError.
    """
    try:
        values = _Loader(_text(path)).get_single_data()
    except _MisleadingValueError as error:
        raise OptionError(f"{path}: {error}.") from error
    except yaml.constructor.ConstructorError as error:
        raise OptionError(
            f"{path} asks to construct an object ({error.problem}); only plain values are read, remove the tag."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a value with the form of a date that is no date
        raise OptionError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise OptionError(f"{path} must be a mapping such as {example}.")
    return {key: value for key, value in values.items() if not key.startswith("x-")}


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError as error:
        raise OptionError(no_file(path)) from error
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read as UTF-8 text: {first_line(error)}.") from error


class _MisleadingValueError(Exception):
    """A value that its writer meant otherwise: a number in octal or to base 60, or a mark that stands for nothing."""


class _Loader(yaml.SafeLoader):
    """Reads plain values, with three more errors than YAML's own loader.

    A key that stands twice in one mapping is refused, where YAML takes the last. So are the numbers that YAML 1.1 reads
    otherwise than people do: 010 as 8, 1:30 as 90 (https://yaml.org/type/int.html). And so
    are "~" and values that begin with "#", which it reads as no value and as a comment.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in found:
                    raise yaml.YAMLError(
                        f'"{key.value}" stands twice, again in line {key.start_mark.line + 1}; keep one'
                    )
                found.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """The number of a scalar. Raises _MisleadingValueError."""
        is_float = node.tag == _FLOAT_TAG
        number: int | float = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        if ":" in node.value or (not is_float and _OCTAL.match(node.value)):
            raise _MisleadingValueError(
                f"YAML reads {node.value} in line {node.start_mark.line + 1} as {number}; "
                "write a number in decimal digits, without a leading 0 or a colon; quote it if it is a text"
            )
        return number

    def construct_nothing(self, node: yaml.ScalarNode) -> None:
        """None for a scalar without a value. Raises _MisleadingValueError where something is written there."""
        mark = node.start_mark
        rest = "" if mark.buffer is None else re.split("[\n\0]", mark.buffer[mark.pointer :], maxsplit=1)[0]
        comment = _MARK_AS_COMMENT.match(rest) if not node.value else None
        written = node.value if node.value == "~" else comment and comment[1]
        if written:
            raise _MisleadingValueError(
                f'YAML reads "{written}" in line {mark.line + 1} as no value; put it in quotes ("{written}"), or write '
                "null where there is none"
            )


_MARK_AS_COMMENT = re.compile(r"\s*(#+(?=\s*(?:#|$))|#[^\s#]\S*)")
"""What follows a key and is no comment in the usual form, a "#" and a space before its words."""
_INT_TAG, _FLOAT_TAG = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_OCTAL = re.compile(r"[-+]?0[0-7_]")
for _tag in (_INT_TAG, _FLOAT_TAG):
    _Loader.add_constructor(_tag, _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:null", _Loader.construct_nothing)
_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))  # "=", such as a separator


class _Dumper(yaml.SafeDumper):
    """Writes plain values; quotes texts that `_Loader` would read as numbers, and escapes YAML's further line ends."""


def _written_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _written_text)

for _kind in (_Loader, _Dumper):  # YAML 1.1 reads 1e-4 as a text, as it has no dot; YAML 1.2 and people do not
    _kind.add_implicit_resolver(_FLOAT_TAG, re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


def write_yaml(values: Any, path: Path) -> None:
    """Write plain values as YAML, keys in their order."""
    write_text(path, yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
