"""`semtune plan --strategy`: what prompting takes, and the words that it shares with the plan of tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semtune.cli import options as o
from semtune.errors import OptionError

if TYPE_CHECKING:
    from semtune.plan.requests import PlanResult
    from semtune.records import RunSpec


def show_prompting(
    values: Mapping[str, Any],
    strategies: Sequence[str],
    task: str | None,
    device: str,
    runtime_bytes: int,
    *,
    calibrate: bool,
    json: bool,
) -> int:
    """Plan prompting strategies and print the plans. Raises SemtuneError."""
    import torch

    from semtune.measure.machine import default_threads
    from semtune.plan.prompted_requests import plan_strategies
    from semtune.records import to_plain
    from semtune.specs import spec_from

    if not strategies:
        raise OptionError("--strategy names no strategy; see `semtune list strategies`.")
    known = {"task": task or "practice", "approach": "prompted", "strategy": strategies[0]}
    spec = spec_from({**values, **known}, "the command line")
    torch.set_num_threads(spec.threads or default_threads())
    answer, data = plan_strategies(spec, strategies, device, calibrate=calibrate, runtime_bytes=runtime_bytes)
    if json:
        o.print_json([to_plain(p) for p in answer.plans])
    else:
        _show(answer, spec, data.texts)
    return 0


def _show(answer: PlanResult, spec: RunSpec, texts: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console, target = Console(), answer.device
    title = f"{spec.model} prompted on {target.name} ({target.memory_bytes / 1e9:.1f} GB)"
    sheet = Table(title=o.literal(title), title_justify="left")
    sheet.add_column("strategy")
    sheet.add_column("fits")
    for heading in ("load GB", "fit GB", "predict GB", "cache GB", "s/text", "all texts"):
        sheet.add_column(heading, justify="right")
    for p in answer.plans:
        peaks = [f"{p.peak_bytes[phase] / 1e9:.2f}" if p.peak_bytes else "–" for phase in ("load", "train", "evaluate")]
        fits = "not planned" if p.reason is not None else "yes" if p.fits else "no"
        cache = "–" if p.cache_bytes is None else f"{p.cache_bytes / 1e9:.2f}"
        times = (seconds_shown(p.seconds_per_example), duration(p.predict_seconds))
        sheet.add_row(*map(o.literal, (p.method, fits, *peaks, cache, *times)))
    console.print(sheet)
    said = [f"{p.method}: {p.reason}" for p in answer.plans if p.reason is not None]
    said += [
        f"Assumed: the {texts:,} texts of dev and test of {spec.task}; the longest ones in flight together, with the "
        "longest completions. Drafts that save forwards, and a separate embedder's memory, are not counted."
    ]
    said += [f"Assumed: {line}." for line in answer.assumptions]
    for line in [*said, "GB = 1,000,000,000 bytes, the bare runtime or CUDA context included."]:
        console.print(o.literal(line), soft_wrap=True)


def seconds_shown(seconds: float | None) -> str:
    """Seconds in two digits after the point, or none."""
    return "–" if seconds is None else f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def duration(seconds: float | None) -> str:
    """Minutes, or hours."""
    return "–" if seconds is None else f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
