"""The guard before a run, and `--fit`, with a machine made too small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError
from semtune.plan import requests
from semtune.plan.devices import Device
from semtune.records import RunSpec, TaskOptions
from semtune.runs import guard, run_planners, runner
from semtune.runs.folder import read_result
from semtune.runs.runner import run
from semtune.specs import resolve, spec_from, with_changes, with_method

from ..runs.test_runner import Silent


@pytest.fixture
def spec(tiny_model: Path, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    values = {"task": "table", "model": str(tiny_model), "epochs": 1, "precision": "fp32", "task_options": options}
    return resolve(spec_from(values, "the test"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this machine have so many bytes."""

    def have(memory_bytes: int) -> None:
        device = Device("this machine", "cpu", memory_bytes)
        for module in (requests, guard):
            monkeypatch.setattr(module, "local_device", lambda *_: device)

    return have


def test_a_run_that_cannot_fit_is_a_result_before_anything_is_loaded(
    spec: RunSpec, machine: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(100_000_000)
    monkeypatch.setattr(runner._ActiveRun, "load", lambda self: pytest.fail("it was loaded"))
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "does_not_fit"
    assert result.reason is not None and "0.1 GB are free" in result.reason
    assert max(result.predicted_peak_bytes.values()) > 100_000_000
    assert read_result(tmp_path / "run" / "result.json") == result


def test_a_run_with_8_bit_moments_is_planned_with_less_memory(spec: RunSpec, tmp_path: Path) -> None:
    options = {"precision": "bf16", "optimizer": "adamw-8bit"}
    spec = resolve(with_changes(with_method(spec, "full", shared=True), options))
    result = run(spec, tmp_path / "run", Silent())
    plain = requests.plan_run(dataclasses.replace(spec, optimizer="adamw"), requests.load_data(spec, texts=True), 0)[1]
    planned = requests.plan_run(spec, requests.load_data(spec, texts=True), 0)[1]
    assert result.status == "ok"
    assert planned.peak_bytes["train"] < plain.peak_bytes["train"]


def test_a_run_that_fits_has_its_plan_beside_what_was_measured(spec: RunSpec, tmp_path: Path) -> None:
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "ok"
    assert set(result.predicted_peak_bytes) == set(result.peak_bytes)
    assert result.predicted_seconds_per_iteration


def test_a_plan_that_fails_does_not_stop_a_run(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("planted")

    caplog.set_level("INFO")
    monkeypatch.setattr(run_planners, "plan_run", broken)
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "ok"
    assert result.predicted_peak_bytes == {}
    assert "could not be planned" in caplog.text


def test_fit_changes_as_little_as_needed(
    spec: RunSpec, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = with_changes(spec, {"model": "shape:smollm2-360m", "precision": "bf16", "batch_size": 8})
    monkeypatch.setattr(requests, "load_data", lambda spec, texts: requests.Data())
    large = resolve(dataclasses.replace(large, max_length=256))
    runtime = 400_000_000
    machine(100 << 30)
    _, plan = requests.plan_run(large, requests.Data(), runtime)
    machine(int(0.9 * max(plan.peak_bytes.values())))
    changed, _, text = requests.fit_to_memory(large, runtime)
    assert changed != large
    assert text
    _, after = requests.plan_run(changed, requests.Data(), runtime)
    assert after.fits
    machine(600_000_000)
    with pytest.raises(OptionError, match="choose a smaller model"):
        requests.fit_to_memory(large, runtime)
