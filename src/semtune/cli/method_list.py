"""`semtune list methods`: what each method trains, which base it takes, whether it merges, and its paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from semtune.cli import options as o
from semtune.errors import first_line
from semtune.methods.properties import MODEL, PRESET, MethodProperties, shipped
from semtune.records import to_plain
from semtune.registry import METHODS, Paper
from semtune.runtime.imports import heavy_imports

UNKNOWN = "–"
"""In a cell where nothing is known."""
WIDE = 110
"""Characters of a line from which on papers are cited in full, and not by their arXiv id alone."""


@dataclass(frozen=True, slots=True)
class ListedMethod:
    """A row of the table."""

    name: str
    summary: str
    paper: Paper | None
    properties: MethodProperties | None
    """None where a method from outside semtune could not be attached."""


def list_methods(json: bool) -> int:
    """Print the table, or one record a method with `json`."""
    rows = [ListedMethod(name, METHODS.summary(name), METHODS.paper(name), _properties(name)) for name in METHODS]
    if json:
        o.print_json([_record(row) for row in rows])
    else:
        _show(rows)
    return 0


def _properties(name: str) -> MethodProperties | None:
    """The shipped properties; those of a method from outside semtune are found now, which imports torch."""
    if METHODS.is_built_in(name):
        return shipped()[name]
    with heavy_imports():
        from semtune.methods.probe import probe

        try:
            return probe(name)
        except Exception as error:  # noqa: BLE001 - the code of a plugin raises whatever it likes
            typer.echo(f"{name} could not be attached to {MODEL}: {first_line(error)}", err=True)
            return None


def _record(row: ListedMethod) -> dict[str, Any]:
    record = {"name": row.name, "summary": row.summary, "paper": to_plain(row.paper)}
    if row.properties is None:
        return record
    share = {"model": MODEL, "preset": PRESET, "trainable_share": row.properties.trainable_share}
    return {**record, **share, **to_plain(row.properties)}


def _show(rows: Sequence[ListedMethod]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("trains", justify="right", no_wrap=True)
    for heading in ("base", "merges"):
        table.add_column(heading, min_width=10, max_width=16)
    table.add_column("what is trained (paper)")
    for row in rows:
        described = _described(row, in_full=console.width >= WIDE)
        table.add_row(*map(o.literal, (row.name, *_cells(row.properties), described)))
    console.print(table)
    model = MODEL.removeprefix("shape:")
    for line in (
        f"trains: the method's share of all parameters of {model}, preset {PRESET}; the readout's own layer is not in "
        "it.",
        "base: the precisions of base weights (--precision) that it takes, its preset's first.",
        "merges: whether what was trained can become a part of these weights (semtune merge); in place: it is one.",
        "Options: semtune list methods --options. Counts and the reasons for each refusal: --json.",
    ):
        console.print(o.literal(line), style="dim")


def _described(row: ListedMethod, *, in_full: bool) -> str:
    if row.paper is None:
        return row.summary
    cited = str(row.paper) if in_full else row.paper.short
    return f"{row.summary} ({cited})"


def _cells(properties: MethodProperties | None) -> tuple[str, str, str]:
    """What stands in the columns trains, base and merges."""
    if properties is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    share = "readout" if properties.trains_readout_alone else f"{100 * properties.trainable_share:.3g}%"
    return share, _base(properties), _merges(properties)


def _base(properties: MethodProperties) -> str:
    accepted = [name for name, base in properties.bases.items() if base.refusal is None]
    every = "any" if len(accepted) == len(properties.bases) else ", ".join(accepted)
    if properties.precision == "auto" or accepted == [properties.precision]:
        return every
    return f"{properties.precision}; {every}"


def _merges(properties: MethodProperties) -> str:
    accepted = {name: base for name, base in properties.bases.items() if base.refusal is None}
    refusing = [name for name, base in accepted.items() if base.merge == "refused"]
    if len(refusing) == len(accepted):
        return "no"
    if all(base.merge == "in place" for base in accepted.values()):
        return "in place"
    own = properties.bases.get(properties.precision)
    if own is not None and own.merged_precision is not None:
        return f"yes, stays {own.merged_precision}"
    return f"not {', '.join(refusing)}" if refusing else "yes"
