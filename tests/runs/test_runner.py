"""A run from data to result.json, in this process, on a tiny random model: every method with every readout."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from semtune.errors import OutputError
from semtune.records import Plan, RunSpec, TaskOptions
from semtune.registry import METHODS, READOUTS, TASKS
from semtune.runs.folder import read_result
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import spec_from

from ..combinations import COMBINATIONS


class Silent:
    def on_phase(self, text: str, total: int | None) -> None: ...
    def on_done(self, count: int) -> None: ...
    def say(self, text: str) -> None: ...
    def on_step(self, event: Any) -> None: ...
    def on_epoch(self, event: Any) -> None: ...


@pytest.fixture
def spec_of(tiny_model: Path, reviews: Path) -> Callable[..., RunSpec]:
    def make(**changes: Any) -> RunSpec:
        options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
        plain = {"model": str(tiny_model), "epochs": 1, "precision": "fp32", "task_options": options}
        return spec_from({"task": "table", **plain, **changes}, "the test")

    return make


Spec = Callable[..., RunSpec]


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind ("step", "epoch") in a run's metrics.jsonl."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize(("method", "readout"), COMBINATIONS)
def test_a_run_leaves_a_whole_folder_and_its_model_can_be_used(
    method: str, readout: str, spec_of: Spec, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = run(spec_of(method=method, readout=readout, precision=None, epochs=2), out, Silent())
    assert result.status == "ok"
    assert read_result(out / "result.json") == result
    for scores in result.scores.values():
        assert all(0 <= low <= high <= 1 for low, high in scores.intervals.values())
        assert scores.intervals.keys() == scores.values.keys()
    assert len(metrics(out, "epoch")) == 2
    assert set(result.peak_bytes) == {"load", "train", "evaluate"}
    assert set(result.scores) == {"dev", "test"}
    assert (out / "environment.json").exists()
    assert not (out / "checkpoints").exists()
    task = TASKS.get("table")(spec_of().task_options)
    again = load_run(out).predict(task.load("test"))
    written = task.read_predictions(out / "predictions-test.json")
    assert [p.labels for p in again] == [p.labels for p in written]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"start": "eva", "eva_batches": 2, "freeze_a": True}),
        ("dora", {"start": "pissa", "dropout": 0.0, "lora_plus_ratio": 4.0}),
        pytest.param("qdora", {"start": "loftq", "loftq_iterations": 2, "scaling": "rslora"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_whose_adapters_began_with_something_computed(
    method: str, options: dict[str, Any], spec_of: Spec, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert run(spec_of(method=method, precision=None, **options), out, Silent()).status == "ok"
    task = TASKS.get("table")(spec_of().task_options)
    again = load_run(out).predict(task.load("test"))
    assert [p.labels for p in again] == [p.labels for p in task.read_predictions(out / "predictions-test.json")]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(spec_of: Spec, tmp_path: Path) -> None:
    def losses(name: str, seed: int) -> list[float]:
        run(spec_of(seed=seed, readout="generate", dropout=0.1), tmp_path / name, Silent())
        return [line["loss"] for line in metrics(tmp_path / name, "step")]

    first = losses("first", 1)
    assert losses("same", 1) == first
    assert losses("other", 2) != first


def test_the_kept_weights_are_those_of_the_best_epoch(spec_of: Spec, tmp_path: Path) -> None:
    """What the run answers for dev at its end scores as the best epoch did, and so does what was kept."""
    result = run(spec_of(epochs=4, learning_rate=0.02), tmp_path / "run", Silent())
    seen = [line["dev_micro_f1"] for line in metrics(tmp_path / "run", "epoch")]
    assert result.best_epoch == 1 + seen.index(max(seen))
    assert result.scores["dev"].value == max(seen)
    task = TASKS.get("table")(spec_of().task_options)
    dev = task.load("dev")
    assert task.score(dev, load_run(tmp_path / "run").predict(dev)).value == max(seen)


def test_divergence_is_a_result(spec_of: Spec, tmp_path: Path) -> None:
    result = run(spec_of(method="full", learning_rate=1e30, readout="generate"), tmp_path / "run", Silent())
    assert result.status == "diverged"
    assert "learning-rate" in str(result.reason)
    assert read_result(tmp_path / "run" / "result.json").status == "diverged"


@pytest.mark.parametrize("phase", ["load", "train"])
def test_running_out_of_memory_is_a_result(
    phase: str, spec_of: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real refused allocation: 2^60 bytes in the place of the model, or of the loss."""

    def refuse(*_: object, **__: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    if phase == "load":
        monkeypatch.setattr("semtune.approaches.tuned_model.load", refuse)
    else:
        monkeypatch.setattr(READOUTS.get("head"), "loss", refuse)
    result = run(spec_of(), tmp_path / "run", Silent())
    assert result.status == "out_of_memory"
    assert ("train" in result.peak_bytes) == (phase == "train")


def test_an_interruption_keeps_what_was_learnt(spec_of: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Silent):
        def on_step(self, event: Any) -> None:
            if event.step == 2:
                raise KeyboardInterrupt

    result = run(spec_of(), tmp_path / "run", Impatient())
    assert (result.status, result.reason) == (
        "interrupted",
        "interrupted by the user; the weights kept so far are in adapter/",
    )
    assert load_run(tmp_path / "run").trainable_parameters == result.trainable_parameters


def test_a_tuned_model_is_not_overwritten_unasked(spec_of: Spec, tmp_path: Path) -> None:
    run(spec_of(), tmp_path / "run", Silent())
    before = (tmp_path / "run" / "result.json").read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        run(replace(spec_of(), seed=5), tmp_path / "run", Silent())
    assert (tmp_path / "run" / "result.json").read_bytes() == before
    assert run(replace(spec_of(), seed=5), tmp_path / "run", Silent(), overwrite=True).seed == 5


def test_a_plan_that_refuses_the_new_model_leaves_the_old_one(spec_of: Spec, tmp_path: Path) -> None:
    out, texts = tmp_path / "run", TASKS.get("table")(spec_of().task_options).load("test")
    first = run(spec_of(), out, Silent())
    before = load_run(out).predict(texts)
    plan = Plan("lora", fits=False, peak_bytes={"train": 10**15})
    refused = run(spec_of(seed=5), out, Silent(), overwrite=True, plan=plan)
    assert (refused.status, refused.out) == ("does_not_fit", "run/successor")
    assert read_result(out / "result.json") == first
    assert load_run(out).predict(texts) == before
    assert run(spec_of(seed=5), out, Silent(), overwrite=True).seed == read_result(out / "result.json").seed == 5
    assert not (out / "successor").exists()


@pytest.mark.gpu
@pytest.mark.parametrize("method", list(METHODS))
def test_a_run_on_a_gpu(method: str, spec_of: Spec, tmp_path: Path) -> None:
    """Peaks are the device's there."""
    result = run(spec_of(method=method, precision=None, device="cuda"), tmp_path / "run", Silent())
    assert result.status == "ok"
    assert 0 < result.peak_bytes["load"] <= result.peak_bytes["train"]
