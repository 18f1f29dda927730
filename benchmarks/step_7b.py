"""A training step of semtune's QLoRA on the shape of Llama-2-7B: `make bench-7b`, or `python benchmarks/step_7b.py`.

Random weights: memory and seconds only. Two steps of the same 8 texts; the peak counts loading, and the runtime too.
Prints a table, then one JSON object alone on the last line of standard output; the record folder gets it as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import launch, record, setting, table
from benchmarks.targets import STEP_7B_PEAK

MODEL = "shape:llama-2-7b"
TIMEOUT_SECONDS = 1800.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 where the step was run, 1 where not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    setting.add_options(parser)
    parser.add_argument("--model", default=MODEL, help=f"another shape (default: {MODEL})")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        data = setting.prepare(Path(work), options.threads, setting.data_folder(options.data_dir), adapter_steps=0)
        if "error" in data:
            setting.say(f"The bench cannot start: {data['error']}")
            return 1
        folder = record.new_folder(options.out, "step-7b")
        common = {"work": work, "threads": options.threads, "variant": "qlora", "model": options.model}
        surroundings = {**launch.launch("surroundings", common), "revision": record.revision(), "data": data}
        record.write_json(folder, "environment.json", surroundings)
        setting.say(f"loading {options.model} in 4 bits, then two steps; this takes minutes")
        measured = launch.launch("shape_step", common, TIMEOUT_SECONDS)
    result = {**summary(measured), "threads": options.threads, "record": record.shown(folder)}
    text = as_table(result)
    record.write_json(folder, "summary.json", result)
    (folder / "tables.txt").write_text(text, encoding="utf-8")
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)
    print(json.dumps(result), flush=True)
    return 1 if "error" in measured else 0


def summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Peaks with and without the bare runtime, seconds, and how far the target is."""
    if "error" in measured:
        return {"step_7b_peak_bytes": None, "verdict": STEP_7B_PEAK.verdict(None), **measured}
    runtime = measured["runtime_bytes"]
    peak = max(measured["load_peak_bytes"], measured["peak_bytes"])
    return {
        "step_7b_peak_bytes": peak,
        "step_7b_peak_bytes_above_runtime": peak - runtime,
        "load_peak_bytes": measured["load_peak_bytes"],
        "load_peak_bytes_above_runtime": measured["load_peak_bytes"] - runtime,
        "train_peak_bytes": measured["peak_bytes"],
        "train_peak_bytes_above_runtime": measured["peak_bytes"] - runtime,
        "runtime_bytes": runtime,
        "load_seconds": measured["load_seconds"],
        "step_seconds": measured["step_seconds"],
        "step_tokens": measured["tokens"],
        "target": str(STEP_7B_PEAK),
        "verdict": STEP_7B_PEAK.verdict(peak),
        "measured": dict(measured),
    }


def as_table(result: Mapping[str, Any]) -> str:
    """What a reader sees."""
    if "error" in result:
        return f"The step failed: {result['error']}\n"
    sheet = Table(title=f"QLoRA on {result['measured']['model']}, random weights", title_justify="left")
    for name in ("phase", "peak GB ¹", "above the runtime, GB", "seconds"):
        sheet.add_column(name, justify="left" if name == "phase" else "right")
    steps = ", ".join(f"{seconds:.1f}" for seconds in result["step_seconds"])
    for name, seconds in (("load", f"{result['load_seconds']:.1f}"), ("train", f"{steps} a step")):
        peak, above = result[f"{name}_peak_bytes"], result[f"{name}_peak_bytes_above_runtime"]
        sheet.add_row(name, f"{peak / 1e9:.2f}", f"{above / 1e9:.2f}", seconds)
    tokens = result["step_tokens"][-1]
    return (
        table.render(sheet)
        + f"¹ GB = 1,000,000,000 bytes; the runtime ({result['runtime_bytes'] / 1e9:.2f} GB) included.\n"
        + f"A step is of {tokens} real tokens. Peak of all: {result['step_7b_peak_bytes'] / 1e9:.2f} GB, "
        + f"target under {STEP_7B_PEAK.bound / 1e9:g} GB: {result['verdict']}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
