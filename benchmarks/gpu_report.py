"""Tables of a record of `gpu.py`, on any machine: `python benchmarks/gpu_report.py benchmarks/records/2026-11-26-gpu`.

Plans every run that the record measured (plan.jsonl for the card of its name, card.jsonl for a card of 12 GB) and
writes tables.txt and summary.json beside the measurements.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record, setting, table

PHASES = ("load", "train", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", help="folder that gpu.py filled")
    parser.add_argument("--device", default="h100", help="the card of plan.jsonl, as `semtune plan --device` takes it")
    parser.add_argument("--card", default="12GB", help="the card of card.jsonl")
    options = parser.parse_args(arguments)
    folder = Path(options.record)
    plans = planned(rows_of(folder, "plan"), options.device)
    cards = planned(rows_of(folder, "card"), options.card)
    found = {"plan": summary(plans), "card": verdicts(cards), "speed": speeds(rows_of(folder, "speed"))}
    text = "\n".join([plan_table(plans, found["plan"]), card_table(cards), speed_table(found["speed"])])
    record.write_json(folder, "summary.json", found)
    (folder / "tables.txt").write_text(text, encoding="utf-8")
    print(text)
    return 0


def rows_of(folder: Path, section: str) -> list[dict[str, Any]]:
    """The lines of one section."""
    file = folder / f"{section}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def planned(rows: Sequence[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """Each row with the plan of its run on `device`."""
    from semtune.plan import requests
    from semtune.plan.devices import parse_device
    from semtune.plan.planner import Planner
    from semtune.specs import resolve, spec_from

    target = parse_device(device, requests.local_device())
    for row in rows:
        setting.say(f"planning {name_of(row['run'])}")
        spec = resolve(spec_from({**row["run"], "device": "auto"}, "the cell", shared=True))
        estimate = Planner(requests.request_of(spec, target, requests.Data(), None, 0)).estimate(spec)
        row["planned"] = {
            "peak_bytes": estimate.peak_bytes, "tensor_bytes": dict(estimate.trace.tensor_bytes),
            "fits": estimate.fits,
        }  # fmt: skip
    return list(rows)


def name_of(cell: Mapping[str, Any]) -> str:
    """A run in words."""
    words = [str(cell["model"]).removeprefix("shape:"), str(cell["method"]), str(cell["readout"])]
    words += [f"{cell['batch_size']} x {cell['max_length']}"]
    words += ["checkpointing"] if cell.get("activation_checkpointing") else []
    words += [str(cell[key]) for key in ("optimizer", "precision") if key in cell]
    words += [f"offload {cell['offload_bytes'] / 1e9:.0f} GB"] if cell.get("offload_bytes") else []
    return " ".join(words)


def device_bytes(row: Mapping[str, Any]) -> dict[str, int]:
    """What each phase took of the card at its peak: what the allocator had reserved, and what the driver took."""
    return {p: row["result"]["reserved_bytes"][p] + row["device_bytes_outside_torch"] for p in PHASES}


def errors(row: Mapping[str, Any]) -> dict[str, float]:
    """(planned - measured) / measured of the largest phase: of live tensors, and of the whole card."""
    live, whole = row["result"]["peak_bytes"], device_bytes(row)
    phase = max(PHASES, key=lambda p: live[p])
    tensors, card = row["planned"]["tensor_bytes"][phase], row["planned"]["peak_bytes"][phase]
    return {"tensors": tensors / live[phase] - 1, "card": card / whole[phase] - 1}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The distribution of errors over all runs that were measured."""
    found = [errors(row) for row in rows if "peak_bytes" in row["result"]]
    outside = [row["device_bytes_outside_torch"] for row in rows]
    result: dict[str, Any] = {"runs": len(found), "bytes_outside_torch": max(outside, default=None)}
    for kind in ("tensors", "card") if found else ():
        sizes = sorted(abs(error[kind]) for error in found)
        result[kind] = {
            "median_error": statistics.median(sizes), "largest_error": sizes[-1],
            "worst_under": -min(0.0, *(error[kind] for error in found)),
        }  # fmt: skip
    return result


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each run on the limited card: whether the plan says it fits, and whether it did."""
    return [
        {"run": name_of(row["run"]), "planned": row["planned"]["fits"], "measured": "peak_bytes" in row["result"]}
        for row in rows
    ]


def speeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the rounds of each model, variant and stack."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        if "step_seconds" in row["result"]:
            about = row["run"]
            groups.setdefault((about["model"], about["variant"], about["stack"]), []).append(row["result"])
    return [
        {
            "model": model, "variant": variant, "stack": stack, "rounds": len(found),
            "tokens_per_second": [round(r["tokens_per_second"]) for r in found],
            "step_seconds": statistics.median(s for r in found for s in r["step_seconds"]),
            "allocated_bytes": max(r["allocated_bytes"] for r in found),
        }
        for (model, variant, stack), found in groups.items()
    ]  # fmt: skip


def plan_table(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    """Planned and measured peaks of the largest phase."""
    sheet = Table(title="Peak memory on the card, planned and measured", title_justify="left")
    sheet.add_column("run")
    for name in ("tensors GB", "planned", "error", "card GB", "planned", "error"):
        sheet.add_column(name, justify="right")
    for row in rows:
        if "peak_bytes" not in row["result"]:
            sheet.add_row(name_of(row["run"]), str(row["result"]["error"])[:60])
            continue
        live, whole, off = row["result"]["peak_bytes"], device_bytes(row), errors(row)
        phase = max(PHASES, key=lambda p: live[p])
        plan = row["planned"]
        sheet.add_row(
            f"{name_of(row['run'])} ({phase})", f"{live[phase] / 1e9:.2f}", f"{plan['tensor_bytes'][phase] / 1e9:.2f}",
            f"{off['tensors']:+.1%}", f"{whole[phase] / 1e9:.2f}", f"{plan['peak_bytes'][phase] / 1e9:.2f}",
            f"{off['card']:+.1%}",
        )  # fmt: skip
    said = "".join(
        f"{kind}: median error {found[kind]['median_error']:.1%}, largest {found[kind]['largest_error']:.1%}, "
        f"worst under {found[kind]['worst_under']:.1%}\n"
        for kind in ("tensors", "card")
        if kind in found
    )
    return table.render(sheet) + said + "The card: what torch had reserved and what the driver took beside it.\n"


def card_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The limited card: plan and outcome."""
    sheet = Table(title="On a card of 12 GB", title_justify="left")
    for name in ("run", "planned GB", "plan says", "outcome", "tensors GB", "s/step"):
        sheet.add_column(name, justify="left" if name in ("run", "plan says", "outcome") else "right")
    for row in rows:
        good = "peak_bytes" in row["result"]
        live = f"{max(row['result']['peak_bytes'].values()) / 1e9:.2f}" if good else ""
        seconds = f"{statistics.median(row['result']['step_seconds'][1:]):.2f}" if good else ""
        sheet.add_row(
            name_of(row["run"]), f"{max(row['planned']['peak_bytes'].values()) / 1e9:.2f}",
            "fits" if row["planned"]["fits"] else "does not fit",
            "ran" if good else str(row["result"]["error"]).split(":")[0], live, seconds,
        )  # fmt: skip
    return table.render(sheet)


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Steps of 8 texts."""
    sheet = Table(title="Steps of 8 texts", title_justify="left")
    for name in ("model", "variant", "stack", "tokens/s by round", "median ms a step", "tensors GB"):
        sheet.add_column(name, justify="left" if name in ("model", "variant", "stack") else "right")
    for row in rows:
        sheet.add_row(
            row["model"].removeprefix("shape:"), row["variant"], row["stack"],
            ", ".join(f"{n:,}" for n in row["tokens_per_second"]), f"{row['step_seconds'] * 1e3:.0f}",
            f"{row['allocated_bytes'] / 1e9:.2f}",
        )  # fmt: skip
    return table.render(sheet)


if __name__ == "__main__":
    sys.exit(main())
