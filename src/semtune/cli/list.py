"""`semtune list`: what there is to choose from, read from the registries and from each object's `Settings`."""

from __future__ import annotations

import dataclasses
import typing
from importlib import metadata, resources
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune import registry
from semtune.cli import options as o
from semtune.cli.generate import type_name
from semtune.cli.method_list import list_methods
from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.models.supported import RIGHT, verdicts
from semtune.records import to_plain
from semtune.runtime.imports import heavy_imports

if TYPE_CHECKING:
    from semtune.specs.settings import Part

KINDS = {
    "tasks": registry.TASKS,
    "models": registry.SOURCES,
    "methods": registry.METHODS,
    "prompts": registry.PROMPTS,
    "readouts": registry.READOUTS,
    "optimizers": registry.OPTIMIZERS,
    "presets": registry.PRESETS,
    "quantizations": registry.QUANTIZATIONS,
    "architectures": registry.ARCHITECTURES,
    "baselines": registry.BASELINES,
    "approaches": registry.APPROACHES,
    "strategies": registry.STRATEGIES,
    "answers": registry.ANSWERS,
    "instructions": registry.INSTRUCTIONS,
    "embedders": registry.EMBEDDERS,
    "launchers": registry.LAUNCHERS,
}
TABLES = {"methods": list_methods}
"""Lists that say more than a line about each."""
WITH_OPTIONS = ("methods", "readouts", "prompts", "strategies", "optimizers")


def list_names(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.")],
    options: Annotated[
        bool,
        typer.Option("--options", help="Show the options of every method, readout, prompt, strategy or optimizer."),
    ] = False,
    json: o.Json = False,
) -> int:
    """List what there is to choose from: tasks, models, methods and so on."""
    if kind not in KINDS:
        raise UnknownNameError(f'There is no list of "{kind}"; {did_you_mean(kind, KINDS)}')
    if options:
        return _list_options(kind, json)
    if kind in TABLES:
        return TABLES[kind](json)
    entries = {name: KINDS[kind].summary(name) for name in KINDS[kind]}
    if kind == "models":
        entries = {alias: f"alias of {name}" for alias, name in KINDS[kind].aliases.items()} | entries
        entries |= {f"shape:{name}": "published config, random weights" for name in _shapes()}
    if kind == "architectures":
        entries = _architectures(entries)
    if json:
        o.print_json([{"name": name, "summary": text, **_paper(kind, name)} for name, text in entries.items()])
        return 0
    width = max(map(len, entries), default=0)
    for name, summary in entries.items():
        o.show(f"{name:{width}}  {_with_paper(kind, name, summary)}")
    return 0


def _paper(kind: str, name: str) -> dict[str, Any]:
    """The field of JSON for the paper of a registered object; nothing where there is none."""
    paper = KINDS[kind].paper(name) if name in KINDS[kind] else None
    return {} if paper is None else {"paper": to_plain(paper)}


def _with_paper(kind: str, name: str, summary: str) -> str:
    paper = KINDS[kind].paper(name) if name in KINDS[kind] else None
    return summary if paper is None else f"{summary} ({paper})"


def _architectures(registered: dict[str, str]) -> dict[str, str]:
    """Every causal type of transformers as right or refused, with the reason; registered ones with their summary."""
    table = verdicts()
    entries = {
        kind: "right" if verdict == RIGHT else f"refused: it {verdict}" for kind, verdict in table["types"].items()
    }
    for name, summary in registered.items():
        entries[name] = f"{entries.get(name, 'registered')}: {summary}"
    installed = metadata.version("transformers")
    if installed != table["transformers"]:
        typer.echo(
            f"These are the verdicts for transformers {table['transformers']}; {installed} is installed, so every "
            "architecture is checked when a model of it is loaded.",
            err=True,
        )
    return dict(sorted(entries.items()))


def _shapes() -> list[str]:
    """Names of the published configs that ship with semtune."""
    folder = resources.files("semtune.models") / "shapes"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def _list_options(kind: str, json: bool) -> int:
    """The options of every member of `kind`: type, unit, default (of each preset) and help."""
    if kind not in WITH_OPTIONS:
        raise OptionError(f"There are no options of {kind}; --options goes with {', '.join(WITH_OPTIONS)}.")
    with heavy_imports():  # each method, readout and strategy declares its own, so they are imported
        from semtune.specs.presets import written
        from semtune.specs.settings import METHOD, OPTIMIZER, PROMPT, READOUT, STRATEGY

        part = dict(zip(WITH_OPTIONS, (METHOD, READOUT, PROMPT, STRATEGY, OPTIMIZER), strict=True))[kind]
        rows: list[dict[str, Any]] = [
            {
                "name": name,
                "summary": KINDS[kind].summary(name),
                **_paper(kind, name),
                "options": _options(part, name),
            }
            for name in part.registry
        ]
    if json:
        o.print_json(rows)
        return 0
    for row in rows:
        o.show(f"{row['name']}: {_with_paper(kind, row['name'], row['summary'])}")
        if not row["options"]:
            o.show("  no options")
        for option in row["options"]:
            unit = f", {option['unit']}" if option["unit"] else ""
            defaults = "; ".join(f"{written(v)} ({name})" for name, v in option["defaults"].items())
            o.show(f"  {option['name']}  [{option['type']}{unit}]  {defaults}")
            o.show(f"      {option['help']}")
    return 0


def _options(part: Part, name: str) -> list[dict[str, Any]]:
    """One record an option. `defaults` are by preset; where there are no presets, under "default"."""
    from semtune.specs.settings import option_fields

    settings = part.settings_class(name)
    hints = typing.get_type_hints(settings)
    presets = getattr(part.registry.get(name), "presets", None)
    rows = []
    for field in option_fields(settings):
        if presets is None:
            defaults = {} if field.default is dataclasses.MISSING else {"default": field.default}
        else:
            defaults = {preset: getattr(values, field.name) for preset, values in presets.items()}
        rows.append(
            {
                "name": field.name,
                "type": " | ".join(field.metadata.get("choices") or ()) or type_name(hints[field.name]),
                "unit": field.metadata.get("unit"),
                "defaults": to_plain(defaults),
                "help": field.metadata.get("help", ""),
            }
        )
    return rows
