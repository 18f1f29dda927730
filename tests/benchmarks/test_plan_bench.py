"""The arithmetic of `benchmarks/plan.py`, and faults that its check must notice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.plan_cells import CALIBRATION, GRID

from benchmarks import plan


def row(measured: float, predicted: float, *, seconds: float = 2.0) -> dict[str, Any]:
    cell = {"model": "default", "method": "lora", "readout": "head", "batch_size": 8, "max_length": 32}
    peaks = {"load": 0.4e9, "train": measured, "evaluate": 0.5e9}
    planned = {"load": 0.4e9, "train": predicted, "evaluate": 0.5e9}
    return {
        "cell": cell,
        "measured": {"peak_bytes": peaks, "step_seconds": [9.0, seconds, seconds]},
        "predicted": {"peak_bytes": planned, "seconds": 2.2},
    }


def test_errors_are_of_the_largest_phase() -> None:
    assert plan.errors(row(2e9, 2.2e9)) == (pytest.approx(0.1), 0.0)
    assert plan.errors(row(2e9, 1.8e9)) == (pytest.approx(0.1), pytest.approx(0.1))


def test_the_distribution() -> None:
    rows = [row(1e9, 1e9 + i * 1e7) for i in range(20)]
    found = plan.summary(rows)
    assert found["median_error"] == pytest.approx(0.095)
    assert found["p95_error"] == pytest.approx(0.19)
    assert found["worst_under"] == 0.0
    assert found["runs"] == 20
    assert found["time_median_error"] == pytest.approx(0.1)


def test_a_leak_in_one_run_shows_as_under() -> None:
    rows = [row(1e9, 1.01e9) for _ in range(20)] + [row(1.4e9, 1.01e9)]
    assert plan.summary(rows)["worst_under"] > 0.1


def test_a_run_that_failed_is_no_run() -> None:
    failed = {**row(1e9, 1e9), "measured": {"error": "killed"}}
    assert plan.summary([failed])["runs"] == 0
    assert "killed" in plan.as_table([failed], plan.summary([failed]))


def test_the_grid_is_large_and_nothing_was_fitted_to_it() -> None:
    grid = [json.dumps(cell, sort_keys=True) for cell in GRID]
    assert len(set(grid)) == len(grid) >= 60
    sizes = {(c["model"], c["method"], c["batch_size"], c["max_length"], c["activation_checkpointing"]) for c in GRID}
    fit_to_memory = {
        (c["model"], c["method"], c["batch_size"], c["max_length"], c["activation_checkpointing"]) for c in CALIBRATION
    }
    assert not sizes & fit_to_memory
    assert {c["readout"] for c in GRID} == {"head", "generate"}
    assert {c["activation_checkpointing"] for c in GRID} == {False, True}


def test_the_table() -> None:
    rows = [row(2e9, 2.1e9)]
    text = plan.as_table(rows, plan.summary(rows))
    assert "+5.0%" in text
    assert "1 runs" in text
