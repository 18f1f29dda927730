"""The bench's tables as plain text."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ratios import Figure, Measure, Run, field_of, step_peak_bytes, tokens_per_second, values
from benchmarks.targets import MEASURED_ONCE, TARGETS, Target

WIDTH = 150


def figures_table(figures: Sequence[Figure], targets: Mapping[str, Target] = TARGETS) -> str:
    """One row a figure: median, lowest and highest round, target, verdict; of a figure without a value the reason."""
    table = Table(title="Figures: medians over interleaved rounds", title_justify="left")
    headings = ("figure", "median", "lowest – highest", "rounds", "target", "verdict", "against, or why there is none")
    for name in headings:
        table.add_column(name, justify="right" if name in ("median", "rounds") else "left", overflow="fold")
    for figure in figures:
        target = targets.get(figure.key)
        unit = target.unit if target else ("" if figure.against is None else "x")
        rounds = "once" if figure.key in MEASURED_ONCE and figure.values else str(len(figure.values))
        low_high = "" if figure.spread is None else " – ".join(f"{bound:.3g}" for bound in figure.spread)
        table.add_row(
            figure.key,
            "none" if figure.value is None else f"{figure.value:.3g}{unit}",
            low_high,
            rounds,
            str(target) if target else "",
            target.verdict(figure.value) if target else "",
            figure.reason or figure.against or "",
        )
    return render(table)


def contestants_table(runs: Sequence[Run]) -> str:
    """One row a contestant that trained: speed, memory, FLOP utilisation; then the others; failures with the reason."""
    table = Table(title="Contestants: medians", title_justify="left")
    headings = ("contestant", "rounds", "tokens/s", "examples/s", "seconds", "peak MB ¹", "MFU", "failed")
    for name in headings:
        table.add_column(name, justify="left" if name in ("contestant", "failed") else "right", overflow="fold")

    def speed(result: Mapping[str, Any]) -> float:
        return float(result.get("examples_per_second") or result["texts_per_second"])

    for contestant in dict.fromkeys(run.contestant for run in runs):
        own = [run for run in runs if run.contestant == contestant]
        errors = [f"round {run.round + 1}: {run.result['error']}" for run in own if "error" in run.result]
        table.add_row(
            contestant,
            str(len(own) - len(errors)),
            _median(own, contestant, tokens_per_second, "{:.0f}"),
            _median(own, contestant, speed, "{:.2f}"),
            _median(own, contestant, field_of("seconds"), "{:.2f}"),
            _median(own, contestant, lambda result: step_peak_bytes(result) / 1e6, "{:.0f}"),
            _median(own, contestant, field_of("mfu"), "{:.3f}"),
            "\n".join(dict.fromkeys(errors)),
        )
    return render(table) + "¹ Of the same step of 8 texts (batch 16: of 16), above the bare runtime.\n"


def growth_table(growth: Mapping[str, Any] | None) -> str:
    """How a step grows with its tokens."""
    if growth is None:
        return ""
    table = Table(title="Growth of semtune's LoRA step", title_justify="left")
    for name in ("real tokens", "texts", "seconds", "tokens/s", "peak MB above the runtime"):
        table.add_column(name, justify="right")
    for row in growth["sizes"]:
        rate, peak = row["tokens"] / row["seconds"], row["peak_bytes_above_runtime"] / 1e6
        table.add_row(str(row["tokens"]), str(row["texts"]), f"{row['seconds']:.3f}", f"{rate:.0f}", f"{peak:.0f}")
    seconds, memory = growth["seconds"], growth["memory"]
    lines = (
        f"seconds ≈ {seconds['milliseconds_per_step']:.1f} ms + {seconds['milliseconds_per_token']:.3f} ms a token "
        f"(off by at most {100 * seconds['largest_relative_deviation']:.0f} %)\n"
        f"peak ≈ {memory['bytes_at_zero_tokens'] / 1e6:.0f} MB + {memory['bytes_per_token'] / 1e3:.1f} kB a token "
        f"(off by at most {100 * memory['largest_relative_deviation']:.0f} %)\n"
    )
    return render(table) + lines


def sameness_lines(sameness: Mapping[str, Any]) -> str:
    """What was compared, one line each."""
    lines = []
    for name, found in sameness.items():
        what = name.replace("_", " ")
        if found is None:
            lines.append(f"{what}: not compared")
        elif "identical" in found:
            lines.append(f"{what}: {found['identical']} of {found['texts']} identical")
        else:
            lines.append(
                f"{what}: differ by at most {found['largest_difference']:.2g}, "
                f"same best label for {found['same_best_label']} of {found['texts']} texts"
            )
    return "".join(line + "\n" for line in lines)


def render(table: Table) -> str:
    """A table as text, the same in a terminal and in a file."""
    page = io.StringIO()
    # Reasons may hold brackets, which rich would take for markup.
    Console(file=page, width=WIDTH, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return page.getvalue()


def _median(runs: Sequence[Run], contestant: str, measure: Measure, form: str) -> str:
    found = values(runs, contestant, measure)
    return form.format(statistics.median(found.values())) if found else ""
