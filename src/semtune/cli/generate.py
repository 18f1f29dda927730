"""Command-line options generated from the fields of dataclasses, so that each is declared once (see `records.option`).

How a field becomes an option:

    batch_size: int                 --batch-size INTEGER
    offload_bytes: int              --offload-gb FLOAT           times 10^9
    targets: tuple[str, ...]        --targets TEXT               comma separated
    prepack: bool                   --prepack / --no-prepack
    optimizer: Literal["a", "b"]    --optimizer [a|b]            checked with the record, not by the parser
    method_options: Mapping         --method-option NAME=VALUE   repeatable
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from semtune.errors import OptionError
from semtune.records import CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions
from semtune.records.options import ANSWERS, MACHINE, METHOD

PANELS = {TaskOptions: "Task data", LowRankSettings: METHOD, CommonReadoutOptions: ANSWERS}
"""Record -> heading in `--help` for those of its fields that declare no panel."""
WITHOUT_DEFAULTS = (LowRankSettings, CommonReadoutOptions)
"""Records whose fields get no default here: presets and readouts decide theirs."""
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class _Option:
    """One command-line parameter, and the record and field that receive its converted value."""

    parameter: inspect.Parameter
    record: type[Any]
    field: str
    convert: Callable[[Any], Any]
    flag: str
    """Its spelling on the command line."""
    open: bool
    """Whether a preset may decide its value where it is not given."""


def with_options(
    *records: type[Any], exclude: Iterable[str] = (), defaults: bool = True
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the options of `records`; it receives their values as the keyword argument `values`.

    `values` maps field names to values, the fields of TaskOptions within "task_options"; an option that was not given
    and has no default, or whose value a preset may decide, is left out. A field with the name of one of the command's
    own parameters, or in `exclude`, or whose type is a dataclass, becomes no option. A command with a parameter `given`
    gets the flags of these options that stand on the command line.

    Args:
        defaults: whether options have their field's default; if not, `values` has only what was given. The fields of a
            method's or readout's settings never have one, as presets decide.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        asked = inspect.signature(command, eval_str=True).parameters
        own, tells = [p for p in asked.values() if p.name not in ("values", "given")], "given" in asked
        skipped = {*exclude, *(p.name for p in own)}
        options: dict[str, _Option] = {}
        for record in records:
            for option in _options_of(record, skipped, defaults and record not in WITHOUT_DEFAULTS):
                options[option.parameter.name] = option

        def run(context: typer.Context, **arguments: Any) -> int:
            kept = {name: o for name, o in options.items() if not o.open or _was_given(context, name)}
            values = _collect(kept, arguments)
            more = (
                {"given": tuple(options[name].flag for name in options if _was_given(context, name))} if tells else {}
            )
            return command(**{p.name: arguments[p.name] for p in own}, values=values, **more)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter("context", kind, annotation=typer.Context)]
        parameters += [p.replace(kind=kind) for p in own]
        parameters += [option.parameter for option in options.values()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def type_name(hint: Any) -> str:
    """A field's type for readers: "float", "bf16 | fp32", "list of str"; None among the alternatives is left out."""
    hint = _without_none(hint)
    if typing.get_origin(hint) is Literal:
        return " | ".join(str(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {typing.get_args(hint)[0].__name__}"
    return str(getattr(hint, "__name__", hint))


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line; one that does not has its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _collect(options: Mapping[str, _Option], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Field -> converted value, of the options that were given. Raises OptionError."""
    values: dict[str, Any] = {}
    for name, option in options.items():
        if arguments[name] is None:
            continue
        into = values.setdefault("task_options", {}) if option.record is TaskOptions else values
        into[option.field] = option.convert(arguments[name])
    return values


def _options_of(record: type[Any], skipped: set[str], defaults: bool) -> list[_Option]:
    """The options of the fields of `record` but `skipped`, each with its old spellings as hidden options."""
    hints = typing.get_type_hints(record)
    options: list[_Option] = []
    for field in dataclasses.fields(record):
        hint = _without_none(hints[field.name])
        if field.name in skipped or dataclasses.is_dataclass(hint):
            continue
        default = field.default if defaults and field.default is not dataclasses.MISSING else None
        if default is not None and field.name.endswith("_bytes"):
            default = default / GIGABYTE
        kind, flag, convert = _spelling(field.name, hint)
        settings = {
            "help": field.metadata["help"],
            "metavar": _metavar(hint, field.metadata["choices"]),
            "rich_help_panel": field.metadata["panel"] or PANELS[record],
            "show_default": "the preset's" if record is LowRankSettings else default is not None,
        }
        options.append(_option(record, field.name, field.name, kind, flag, convert, default, settings))
        for old in field.metadata["old_flags"]:
            hidden = {"help": field.metadata["help"], "hidden": True, "rich_help_panel": settings["rich_help_panel"]}
            options.append(_option(record, field.name, f"old_{field.name}", kind, old, convert, None, hidden))
    return options


def _option(
    record: type[Any],
    field: str,
    name: str,
    kind: Any,
    flag: str,
    convert: Callable[[Any], Any],
    default: Any,
    settings: Mapping[str, Any],
) -> _Option:
    """One parameter. `flag` is without dashes; `settings` are typer's."""
    flags = f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"
    parameter = inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None, typer.Option(flags, **settings)],
    )
    return _Option(
        parameter,
        record,
        field,
        convert,
        f"--{flag}",
        open=record is RunSpec and settings.get("rich_help_panel") != MACHINE,
    )


def _spelling(name: str, hint: Any) -> tuple[Any, str, Callable[[Any], Any]]:
    """The parser's type of an option, its flag without dashes, and what turns the parsed value into the field's."""
    flag = name.replace("_", "-")
    origin = typing.get_origin(hint)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        singular = flag.removesuffix("s")
        return list[str], singular, lambda pairs: _named_values(pairs, f"--{singular}")
    if origin is tuple:
        return str, flag, lambda text: split_quoted(text, f"--{flag}")
    if origin is Literal:
        return str, flag, lambda value: value
    if name.endswith("_bytes"):
        flag = flag.removesuffix("-bytes") + "-gb"
        return float, flag, lambda gigabytes: gigabytes_as_bytes(gigabytes, f"--{flag}")
    return hint, flag, lambda value: value


def gigabytes_as_bytes(gigabytes: float, name: str) -> int:
    """`gigabytes` in bytes; `name` is the option's in the message. Raises OptionError for NaN and infinity."""
    if not math.isfinite(gigabytes):
        raise OptionError(f"{name} must be a finite number, not {gigabytes}.")
    return round(gigabytes * GIGABYTE)


def _metavar(hint: Any, choices: Sequence[str]) -> str | None:
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
    if choices:
        return f"[{'|'.join(choices)}]"
    return "NAME=VALUE" if typing.get_origin(hint) not in (None, tuple) else None


def _named_values(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """["rank=8"] -> {"rank": "8"}. Raises OptionError."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise OptionError(f'{flag} must have the form NAME=VALUE, such as {flag} rank=8, not "{pair}".')
        key = name.strip().replace("-", "_")
        if values.setdefault(key, value) != value:
            raise OptionError(f'{flag} gives {key} twice, as "{values[key]}" and "{value}"; keep one of them.')
    return values


def split_names(text: str) -> tuple[str, ...]:
    """ "a, b" -> ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def split_quoted(text: str, flag: str) -> tuple[str, ...]:
    """'a, "b, c"' -> ("a", "b, c"), as in a line of CSV; a JSON list of strings (and numbers) is taken as it is.

    Raises OptionError: a quotation mark without its partner. `flag` is the option's name for the message.
    """
    if text.strip().startswith("["):
        with contextlib.suppress(ValueError):
            values = json.loads(text, parse_int=str, parse_float=str)  # a number is the label as it is written
            if all(isinstance(value, str) for value in values):
                return tuple(values)
    try:
        (parts,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise OptionError(
            f"{flag} cannot be read as a list ({error}); put names that hold commas or quotation marks in double "
            "quotes, doubling those inside, or give a JSON list."
        ) from error
    return tuple(part.strip() for part in parts if part.strip())


def _without_none(hint: Any) -> Any:
    """`int` of `int | None`; any other type as it is."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    return hint
