"""Errors of the command line's layers, said to a caller from Python: options are keywords, data in memory no files."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from semtune.errors import SemtuneError

WRITTEN = re.compile(r"(train|dev|test)-[0-9a-f]{12}\.jsonl")
"""The name of a file that holds a split given in memory."""
_OF_COMMANDS_ALONE = frozenset({"accept-terms", "dequantize", "help", "json", "options", "quiet", "spec"})
"""Options that no function has as a keyword."""
_FLAGS = frozenset(
    {"activation-checkpointing", "allow-overlap", "calibrate", "fit", "fused-update", "overwrite"}
    | {"master-weights", "trust-remote-code"}
)
"""Options that are given without a value."""
_PROSE = re.compile(
    "a|about|all|alone|and|as|at|be|by|can|cannot|does|for|from|has|in|is|it|names|needs|not|of|on|one|only|or|says|"
    "seems|so|than|that|the|then|there|this|to|too|was|where|which|while|with"
)
"""Words that may follow an option without being its value."""
_BEFORE_VALUES = ("give", "e.g.", "with", "use", "(", "or")
"""What stands before an option whose value is a word; elsewhere the next word is the sentence's."""
_COMMAND = re.compile(r"`(?:semtune|pip|python)\b[^`]*`")
_OPTION = re.compile(r"""(?<![\w-])--(no-)?([a-z][a-z-]*[a-z])(?: ('[^']*'|"[^"]*"|\w(?:[\w.+-]*\w)?))?(?![\w-])""")

_YAML_LIST = re.compile(r"(?<=; write )(\w+): (\[.*\])(?=\.$)", re.DOTALL)
"""What a list is to look like in a file."""
_YAML_READS = re.compile(r" \(YAML reads [^)]*\)(?:; if it has capitals, .*(?=\.$))?")
"""What YAML may have done with a value that was given in Python."""


@contextlib.contextmanager
def spoken_python(data_folder: Path) -> Iterator[None]:
    """Raise the SemtuneErrors of the body with messages for a caller from Python.

    Args:
        data_folder: where data in memory were written.
    """
    try:
        yield
    except SemtuneError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (in_python(error.args[0], data_folder), *error.args[1:])
        raise


def in_python(message: str, data_folder: Path) -> str:
    """`message` with `--text-column NAME` as `text_column=NAME`, and files written for data in memory as splits.

    Commands in backticks stay as they are. Values are not written as in YAML.
    """
    message = _YAML_READS.sub("", _YAML_LIST.sub(_keyword_list, message))
    places = rf"{re.escape(str(data_folder))}[/\\]{WRITTEN.pattern}(?:, (line|row) (\d+))?"
    message = re.sub(places, _place, message)
    commands = _COMMAND.findall(message)
    parts = (_OPTION.sub(_keyword, part) for part in _COMMAND.split(message))
    return "".join(part + command for part, command in zip(parts, [*commands, ""], strict=True))


def _place(found: re.Match[str]) -> str:
    split, _, number = found.groups()
    return f"the {split} split" if number is None else f"row {number} of the {split} split"


def _keyword_list(found: re.Match[str]) -> str:
    """A list of YAML as the value of a keyword."""
    import yaml

    return f"{found[1]}={json.dumps(yaml.safe_load(found[2]), ensure_ascii=False)}"


def _keyword(found: re.Match[str]) -> str:
    """An option of a command as the keyword of the same name, with its value if one follows."""
    negated, option, value = found.groups()
    name, rest = option.replace("-", "_"), f" {value}" if value else ""
    if option in _OF_COMMANDS_ALONE:
        return found.group()
    if negated or option in _FLAGS:
        return f"{name}={not negated}{rest}"
    if value is None:
        return f"{name}="
    if value[0] in "'\"" or value.isupper() or value.replace(".", "").isdigit():
        return f"{name}={value}"
    before = found.string[: found.start()].rstrip()
    is_value = before.endswith(_BEFORE_VALUES) and not _PROSE.fullmatch(value)
    return f"{name}={value!r}" if is_value else f"{name}={rest}"
