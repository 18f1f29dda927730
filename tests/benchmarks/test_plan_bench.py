"""The arithmetic of `benchmarks/plan.py`, and faults that its check must notice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.clock import Clock
from benchmarks.plan_cells import CALIBRATION, GRID, OTHER_METHODS

from benchmarks import launch, plan
from semtune.registry import METHODS, QUANTIZATIONS
from semtune.specs import method_settings, resolve, spec_from


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


def test_the_grid_covers_every_method_on_both_kinds_of_base() -> None:
    def is_4_bit(cell: dict[str, Any]) -> bool:
        spec = resolve(spec_from({**cell, "threads": 1}, "the cell", shared=True))
        return str(method_settings(spec).precision) in QUANTIZATIONS

    assert {c["method"] for c in GRID} == set(METHODS)
    assert len(OTHER_METHODS) >= 15
    assert {is_4_bit(cell) for cell in OTHER_METHODS} == {True, False}
    for name in {c["method"] for c in OTHER_METHODS}:
        assert sum(c["method"] == name for c in OTHER_METHODS) >= 2


def test_cells_of_chosen_methods(capsys: pytest.CaptureFixture[str]) -> None:
    cells = plan.read_options(["--methods", "mam, prefix"]).cells
    assert {c["method"] for c in cells} == {"mam", "prefix"}
    with pytest.raises(SystemExit) as ended:
        plan.read_options(["--methods", "mma"])
    assert ended.value.code == 2
    assert 'no cell has the method "mma"; choose of full, lora' in capsys.readouterr().err


def test_no_cell_begins_after_the_limit_and_one_that_failed_is_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0.0]
    launched = []

    def launch_cell(program: str, settings: dict[str, Any], timeout: float) -> dict[str, Any]:
        launched.append(settings["spec"]["method"])
        times[0] += 40.0
        return {"error": "planted"}

    monkeypatch.setattr(launch, "launch", launch_cell)
    planner: Any = None  # a failed cell is not planned
    rows = list(plan.measure(OTHER_METHODS, {}, {}, planner, Clock(100.0, lambda: times[0])))
    assert launched == ["houlsby", "pfeiffer"]  # 20 s are left, and a cell takes 40
    assert [row["predicted"] for row in rows] == [{}, {}]
    assert "planted" in plan.said(rows[0])
