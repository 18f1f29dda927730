"""The guard before a run, and `--fit`, with a machine made too small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semtune.approaches import planning
from semtune.approaches import run as running
from semtune.approaches.run import run
from semtune.approaches.run_folder import read_result
from semtune.approaches.specs import resolve
from semtune.errors import OptionError
from semtune.plan.devices import Device
from semtune.records import RunSpec, TaskOptions

from .test_run import Silent


@pytest.fixture
def spec(tiny_model: Path, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    return resolve(RunSpec("table", model=str(tiny_model), epochs=1, precision="fp32", task_options=options))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this machine have so many bytes."""

    def have(memory_bytes: int) -> None:
        device = Device("this machine", "cpu", memory_bytes)
        for module in (planning, running):
            monkeypatch.setattr(module, "here", lambda: device)

    return have


def test_a_run_that_cannot_fit_is_a_result_before_anything_is_loaded(
    spec: RunSpec, machine: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(100_000_000)
    monkeypatch.setattr(running._Session, "load", lambda self: pytest.fail("it was loaded"))
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "does_not_fit"
    assert result.reason is not None and "0.1 GB are free" in result.reason
    assert max(result.predicted_peak_bytes.values()) > 100_000_000
    assert read_result(tmp_path / "run" / "result.json") == result


def test_a_run_with_8_bit_moments_is_planned_with_less_memory(spec: RunSpec, tmp_path: Path) -> None:
    spec = resolve(dataclasses.replace(spec, method="full", precision="bf16", optimizer="adamw-8bit"))
    result = run(spec, tmp_path / "run", Silent())
    plain = planning.plan_run(dataclasses.replace(spec, optimizer="adamw"), planning.load_data(spec, texts=True), 0)[1]
    planned = planning.plan_run(spec, planning.load_data(spec, texts=True), 0)[1]
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

    monkeypatch.setattr(running, "plan_run", broken)
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "ok"
    assert result.predicted_peak_bytes == {}
    assert "could not be planned" in caplog.text


def test_only_what_surely_fits_is_not_planned_first(spec: RunSpec, machine: Callable[[int], None]) -> None:
    data = planning.load_data(spec, texts=True)
    machine(64 << 30)
    assert planning.surely_fits(spec, data)
    machine(1 << 30)
    assert not planning.surely_fits(spec, data)


def test_the_bound_is_above_what_any_method_needs(spec: RunSpec, machine: Callable[[int], None]) -> None:
    """What "surely fits" would have to hold for a model of a billion: its worst plan is below the bound."""
    shape = dataclasses.replace(spec, model="shape:llama-3.2-1b", method="full", precision="fp32")
    machine(40 << 30)
    assert not planning.surely_fits(shape, planning.Data())


def test_fit_changes_as_little_as_needed(
    spec: RunSpec, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = dataclasses.replace(spec, model="shape:smollm2-360m", method="lora", precision="bf16", batch_size=8)
    monkeypatch.setattr(planning, "load_data", lambda spec, texts: planning.Data())
    large = resolve(dataclasses.replace(large, max_length=256))
    runtime = 400_000_000
    machine(100 << 30)
    _, plan = planning.plan_run(large, planning.Data(), runtime)
    machine(int(0.9 * max(plan.peak_bytes.values())))
    changed, _, text = planning.fitted(large, runtime)
    assert changed != large
    assert text
    _, after = planning.plan_run(changed, planning.Data(), runtime)
    assert after.fits
    machine(600_000_000)
    with pytest.raises(OptionError, match="choose a smaller model"):
        planning.fitted(large, runtime)
