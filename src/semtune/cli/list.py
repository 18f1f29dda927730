"""`semtune list`: what there is to choose from, read from the registries."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

import typer

from semtune import registry
from semtune.cli import options as o
from semtune.errors import UnknownNameError, did_you_mean

KINDS = {
    "tasks": registry.TASKS,
    "models": registry.SOURCES,
    "methods": registry.METHODS,
    "prompts": registry.PROMPTS,
    "readouts": registry.READOUTS,
    "baselines": registry.BASELINES,
    "approaches": registry.APPROACHES,
    "strategies": registry.STRATEGIES,
    "launchers": registry.LAUNCHERS,
}


def list_names(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.")],
    json: o.Json = False,
) -> int:
    """List what there is to choose from: tasks, models, methods and so on."""
    if kind not in KINDS:
        raise UnknownNameError(f'There is no list of "{kind}"; {did_you_mean(kind, KINDS)}')
    entries = {name: KINDS[kind].summary(name) for name in KINDS[kind]}
    if kind == "models":
        entries |= {f"shape:{name}": "published config, random weights" for name in _shapes()}
    if json:
        o.print_json([{"name": name, "summary": summary} for name, summary in entries.items()])
        return 0
    width = max(map(len, entries))
    for name, summary in entries.items():
        typer.echo(f"{name:{width}}  {summary}")
    return 0


def _shapes() -> list[str]:
    """Names of the published configs that ship with semtune."""
    folder = resources.files("semtune.models") / "shapes"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
