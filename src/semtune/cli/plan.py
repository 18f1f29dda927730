"""`semtune plan`: before anything is downloaded or trained, what fits, how long it takes, what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.cli import options as o
from semtune.cli.generate import split_names, with_options
from semtune.cli.plan_prompting import duration, seconds_shown, show_prompting
from semtune.errors import OptionError, with_stop
from semtune.records import CommonReadoutOptions, LowRankSettings, RunSpec, TaskOptions
from semtune.registry import APPROACHES, STRATEGIES
from semtune.runtime.imports import heavy_imports

if TYPE_CHECKING:
    from semtune.plan.requests import Data, PlanResult
    from semtune.records import Plan

NOT_PLANNED = ("approach", "baseline", "seed")
"""Fields of a RunSpec that change neither the memory nor the time of a run, or that other options say."""


@with_options(RunSpec, LowRankSettings, CommonReadoutOptions, TaskOptions, exclude=NOT_PLANNED)
def plan(
    values: Mapping[str, Any],
    task: Annotated[
        str | None, typer.Option(help="Whose texts are counted; without it: the practice texts, or --max-length.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="auto (this machine), a GPU's memory (12GB; with RAM to spill into 12GB+32GB), a GPU's name."
        ),
    ] = "auto",
    approach: Annotated[
        str | None, typer.Option(help="prompted plans strategies, all without --strategy; tuned plans methods.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="One method, or several with commas; all without it.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="One prompting strategy, or several with commas, in place of methods.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a text with its labels; without --task all texts are so long.")
    ] = None,
    calibrate: Annotated[bool, typer.Option(help="Measure this machine for 10 s first, and remember it.")] = False,
    json: o.Json = False,
) -> int:
    """Does it fit, how long does it take, what would have to change: for every method, without downloading weights."""
    with heavy_imports():
        import torch

        from semtune.measure.machine import default_threads
        from semtune.measure.memory import resident_bytes
        from semtune.plan.requests import load_data, plan_methods
        from semtune.records import to_plain
        from semtune.registry import METHODS
        from semtune.specs import spec_from

    runtime_bytes = resident_bytes()
    if values.get("endpoint") is not None:
        named = {} if strategy is None else {"strategy": strategy}
        return _show_endpoint({**values, **named}, method, runtime_bytes, json=json)
    strategies = _strategies(approach, strategy)
    if strategies is not None:
        if method is not None or max_length is not None:
            raise OptionError(
                "--method and --max-length say how a model is tuned, and --strategy how it is prompted; leave one out "
                "(the longest prompt: --strategy-option prompt_tokens=N)."
            )
        return show_prompting(values, strategies, task, device, runtime_bytes, calibrate=calibrate, json=json)
    requested = {**values, "task": task or "practice"} | ({} if max_length is None else {"max_length": max_length})
    spec = spec_from(requested, "the command line")
    torch.set_num_threads(spec.threads or default_threads())
    methods = split_names(method) if method is not None else tuple(METHODS)
    if not methods:
        raise OptionError("--method names no method; see `semtune list methods`, or leave it out for all.")
    known = load_data(spec, texts=task is not None or max_length is None)
    answer = plan_methods(spec, methods, device, known, calibrate=calibrate, runtime_bytes=runtime_bytes)
    if json:
        o.print_json([to_plain(p) for p in answer.plans])
    else:
        _show(answer, spec, known, task)
    return 0


def _strategies(approach: str | None, strategy: str | None) -> Sequence[str] | None:
    """The prompting strategies to plan; None: methods are planned. Raises OptionError, UnknownNameError."""
    if approach is None:
        return None if strategy is None else split_names(strategy)
    uses = APPROACHES.get(approach).uses
    if "strategy" in uses:
        return list(STRATEGIES) if strategy is None else split_names(strategy)
    if strategy is not None:
        raise OptionError(f"--strategy is for the approach prompted; leave --strategy or --approach {approach} out.")
    if "method" not in uses:
        raise OptionError(f"The approach {approach} has no model to plan; give --approach tuned or prompted.")
    return None


def _show_endpoint(values: Mapping[str, Any], method: str | None, runtime_bytes: int, *, json: bool) -> int:
    """Say what a model behind a server takes here. Raises OptionError."""
    from semtune.endpoint.settings import settings_of
    from semtune.records import Plan, to_plain
    from semtune.specs import resolve, spec_from

    if method is not None:
        raise OptionError(
            "--method says how a model is tuned, which a server's is not; leave --method or --endpoint out."
        )
    known = {"approach": "prompted", "task": "practice", "strategy": next(iter(STRATEGIES))}
    settings = settings_of(resolve(spec_from({**known, **values}, "the command line")))
    if json:
        o.print_json([to_plain(Plan("prompted", fits=True, peak_bytes={"evaluate": runtime_bytes}))])
        return 0
    o.show(
        f"{settings.model} is in the memory of {settings.url}: no weights are loaded here, and prompting it fits on "
        f"any machine (the bare runtime takes {runtime_bytes / 1e9:.2f} GB, GB = 1,000,000,000 bytes)."
    )
    o.show("Its speed is the server's; run a few texts to see it, and give --prices to see what they cost.")
    return 0


def _show(answer: PlanResult, spec: RunSpec, data: Data, task: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    device = answer.device
    memory = f"{device.memory_bytes / 1e9:.1f} GB"
    if device.spill_bytes:
        memory += f" and {device.spill_bytes / 1e9:.1f} GB to spill into"
    sheet = Table(title=o.literal(f"{spec.model} on {device.name} ({memory})"), title_justify="left")
    sheet.add_column("method")
    sheet.add_column("fits")
    for heading in ("load GB", "train GB", "eval. GB", "s/step", "training"):
        sheet.add_column(heading, justify="right")
    for p in answer.plans:
        peaks = [f"{p.peak_bytes[phase] / 1e9:.2f}" if p.peak_bytes else "–" for phase in ("load", "train", "evaluate")]
        times = (seconds_shown(p.seconds_per_iteration), duration(p.train_seconds))
        sheet.add_row(*map(o.literal, (p.method, _verdict(p), *peaks, *times)))
    console.print(sheet)
    for p in answer.plans:
        for line in _advice_lines(p):
            console.print(o.literal(line), soft_wrap=True)
    texts = f"every text of {spec.max_length} tokens" if data.train is None else f"texts of {task or 'practice'}"
    said = [f"Assumed: {texts}, {spec.batch_size} × {spec.accumulation_steps} a step."]
    said += [f"Assumed: {line}." for line in answer.assumptions]
    said += [with_stop(f"Note: {note}") for note in data.notes]
    for line in [*said, "GB = 1,000,000,000 bytes, the bare runtime or CUDA context included."]:
        console.print(o.literal(line), soft_wrap=True)


def _verdict(p: Plan) -> str:
    if p.reason is not None:
        return "cannot attach"
    if p.fits:
        return "yes"
    return f"spills {p.spill_bytes / 1e9:.1f} GB" if p.spill_bytes else "no"


def _advice_lines(p: Plan) -> list[str]:
    if p.reason is not None:
        return [f"{p.method}: {p.reason}"]
    sizes = [f"batch {p.largest['batch_size']}"] if "batch_size" in p.largest else []
    sizes += [f"length {p.largest['max_length']}"] if "max_length" in p.largest else []
    if p.fits:
        return [f"{p.method}: about the largest that fit, each by itself: {', '.join(sizes)}."] if sizes else []
    smaller = f"the largest shape that would fit so is about {p.largest['model']}" if "model" in p.largest else ""
    if not p.advice:
        instead = smaller or "choose a smaller model"
        return [f"{p.method}: no change that semtune knows makes it fit; {instead}."]
    lines = [f"{p.method}: {smaller}."] if smaller else []
    for a in p.advice:
        cost = "" if a.seconds_factor is None else f", {a.seconds_factor:.2f} times the seconds a step"
        lines.append(f"{p.method} fits with {a.text}: {a.peak_bytes / 1e9:.2f} GB{cost}.")
    return lines
