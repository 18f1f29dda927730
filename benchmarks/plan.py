"""The plan's figures beside measured ones, over a grid of runs: `python benchmarks/plan.py`, about 40 minutes.

Each cell is a run's three phases for real in a process of its own (`contestants/plan_cell.py`), every text at its
longest, and the plan of the same run. Prints a table and, alone on the last line of standard output with --json, one
object. `--quick`: the cells of the smallest models. `--methods`: the cells of these methods. `--seconds`: as many cells
as are done by then. `--calibration`: other cells, to which the constants of `semtune.plan.overhead` were fitted; none
of them is in the grid. `--measured FILE`: plan anew what a record measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import launch, record, setting, table
from benchmarks.clock import Clock
from benchmarks.plan_cells import CALIBRATION, GRID, QUICK_MODELS

TIMEOUT_SECONDS = 1200.0
MEDIAN_TARGET, P95_TARGET, UNDER_TARGET = 0.05, 0.10, 0.10
PHASES = ("load", "train", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 where every cell that was begun was measured."""
    options = read_options(arguments)
    folder = record.new_folder(options.out, "plan-calibration" if options.calibration else "plan")
    planner, rows = Predictor(options.threads), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as work:
        common = {"work": work, "threads": options.threads, "variant": "plan"}
        around = launch.launch("surroundings", common)
        record.write_json(folder, "environment.json", {**around, "revision": record.revision()})
        for row in measure(options.cells, _read(options.measured), common, planner, Clock(options.seconds)):
            rows.append(row)
            setting.say(f"{len(rows)} of {len(options.cells)}: {key(row['cell'])}: {said(row)}")
            with (folder / "cells.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    left_out = len(options.cells) - len(rows)
    if left_out:
        setting.say(f"no time left for the last {left_out} of {len(options.cells)} cells")
    found = summary(rows)
    result = {**found, "record": record.shown(folder), "cells_left_out": left_out, "rates": planner.rates()}
    text = as_table(rows, found)
    record.write_json(folder, "summary.json", result)
    (folder / "tables.txt").write_text(text, encoding="utf-8")
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)
    print(json.dumps(found), flush=True)
    return 0 if found["runs"] == len(rows) else 1


def measure(
    cells: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    common: Mapping[str, Any],
    planner: Predictor,
    clock: Clock,
) -> Iterator[dict[str, Any]]:
    """Each cell measured and planned, until the next one would not be done in time.

    Args:
        known: by `key`, what an earlier record has measured.
        common: settings of every cell's process.
    """
    for cell in cells:
        if not clock.allows(key(cell)):
            return
        with clock.running(key(cell)):
            measured = known.get(key(cell)) or launch.launch(
                "plan_cell", {**common, "spec": dict(cell)}, TIMEOUT_SECONDS
            )
            predicted = {} if "error" in measured else planner.predict(cell, measured)
        yield {"cell": dict(cell), "measured": measured, "predicted": predicted}


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `cells` are those that it chooses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    setting.add_options(parser)
    parser.add_argument("--quick", action="store_true", help="only the cells that take under a minute")
    parser.add_argument("--calibration", action="store_true", help="the cells that constants are fitted to")
    parser.add_argument("--measured", help="cells.jsonl of an earlier record: plan these again, measure nothing")
    parser.add_argument("--methods", help="only cells of these methods, comma separated")
    parser.add_argument("--seconds", type=float, help="begin no cell that would not be done by then")
    options = parser.parse_args(arguments)
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    cells = CALIBRATION if options.calibration else GRID
    if options.quick:
        cells = [c for c in cells if c["model"] in QUICK_MODELS]
    if options.methods is not None:
        wanted = [name.strip() for name in options.methods.split(",")]
        there = dict.fromkeys(c["method"] for c in cells)
        for name in wanted:
            if name not in there:
                parser.error(f'no cell has the method "{name}"; choose of {", ".join(there)}')
        cells = [c for c in cells if c["method"] in wanted]
    options.cells = cells
    return options


class Predictor:
    """Plans of cells on this machine, whatever of its memory is free."""

    def __init__(self, threads: int) -> None:
        import torch

        from semtune.plan import speed

        torch.set_num_threads(threads)
        self._rates = speed.measure(10.0)
        self._planners: dict[str, Any] = {}

    def rates(self) -> dict[str, Any]:
        """What was measured of this machine."""
        import dataclasses

        return dataclasses.asdict(self._rates)

    def predict(self, cell: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
        """Peaks above the runtime that the cell itself had, and seconds of a step."""
        from semtune.plan import requests
        from semtune.plan.planner import Planner
        from semtune.specs import resolve, spec_from

        started = time.perf_counter()
        spec = resolve(spec_from(cell, "the cell", shared=True))
        request = requests.request_of(
            spec, requests.local_device(), requests.Data(), self._rates, measured["runtime_bytes"]
        )
        found = Planner(request).estimate(spec)
        return {
            "peak_bytes": found.peak_bytes,
            "seconds": found.seconds,
            "tensor_bytes": dict(found.trace.tensor_bytes),
            "plan_seconds": time.perf_counter() - started,
        }


def key(cell: Mapping[str, Any]) -> str:
    """A cell in words."""
    words = [str(cell[name]) for name in ("model", "method", "readout")]
    words.append(f"{cell['batch_size']} x {cell['max_length']}")
    words += ["activation_checkpointing"] if cell.get("activation_checkpointing") else []
    words += [str(cell[name]) for name in ("optimizer", "precision") if name in cell]
    words += ["fused_update"] if cell.get("fused_update") else []
    words += [f"packed={cell['packed']}"] if "packed" in cell else []
    return " ".join(words)


def errors(row: Mapping[str, Any]) -> tuple[float, float]:
    """Of a cell's largest phase: |predicted - measured| / measured, and how far it was predicted under, or 0."""
    measured, predicted = row["measured"]["peak_bytes"], row["predicted"]["peak_bytes"]
    phase = max(measured, key=lambda name: measured[name])
    off = (predicted[phase] - measured[phase]) / measured[phase]
    return abs(off), max(0.0, -off)


def time_error(row: Mapping[str, Any]) -> float:
    """|predicted - measured| / measured of an optimizer step, the first one left out."""
    seconds = statistics.median(row["measured"]["step_seconds"][1:])
    return float(abs(row["predicted"]["seconds"] - seconds) / seconds)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The distribution of errors over all cells that were measured."""
    good = [row for row in rows if "peak_bytes" in row["measured"]]
    if not good:
        return {"median_error": None, "p95_error": None, "worst_under": None, "runs": 0, "time_median_error": None}
    sizes = sorted(errors(row)[0] for row in good)
    return {
        "median_error": statistics.median(sizes),
        "p95_error": sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))],
        "worst_under": max(errors(row)[1] for row in good),
        "runs": len(good),
        "time_median_error": statistics.median(time_error(row) for row in good),
    }


def said(row: Mapping[str, Any]) -> str:
    """One cell's outcome in a line."""
    if "peak_bytes" not in row["measured"]:
        return str(row["measured"].get("error"))
    measured, predicted = row["measured"]["peak_bytes"], row["predicted"]["peak_bytes"]
    phases = ", ".join(f"{p} {predicted[p] / 1e9:.2f}/{measured[p] / 1e9:.2f}" for p in PHASES)
    return f"{phases} GB predicted/measured; error {errors(row)[0]:.1%}"


def as_table(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    """What a reader sees."""
    sheet = Table(title="Peak memory, predicted and measured", title_justify="left")
    sheet.add_column("cell")
    for name in ("phase", "predicted GB", "measured GB", "error", "s/step predicted", "measured"):
        sheet.add_column(name, justify="right")
    for row in rows:
        if "peak_bytes" not in row["measured"]:
            sheet.add_row(key(row["cell"]), str(row["measured"].get("error")))
            continue
        measured, predicted = row["measured"]["peak_bytes"], row["predicted"]["peak_bytes"]
        phase = max(measured, key=lambda name: measured[name])
        sheet.add_row(
            key(row["cell"]), phase, f"{predicted[phase] / 1e9:.2f}", f"{measured[phase] / 1e9:.2f}",
            f"{(predicted[phase] - measured[phase]) / measured[phase]:+.1%}", f"{row['predicted']['seconds']:.2f}",
            f"{statistics.median(row['measured']['step_seconds'][1:]):.2f}",
        )  # fmt: skip
    if not found["runs"]:
        return table.render(sheet)
    return table.render(sheet) + (
        f"{found['runs']} runs: median error {found['median_error']:.1%} (target {MEDIAN_TARGET:.0%}), "
        f"95% within {found['p95_error']:.1%} (target {P95_TARGET:.0%}), "
        f"worst under {found['worst_under']:.1%} (target {UNDER_TARGET:.0%}); "
        f"seconds a step: median error {found['time_median_error']:.0%}. "
        "GB = 1,000,000,000 bytes, the bare runtime included.\n"
    )


def _read(file: str | None) -> dict[str, dict[str, Any]]:
    if file is None:
        return {}
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return {key(row["cell"]): row["measured"] for row in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(main())
