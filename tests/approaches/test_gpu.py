"""Whole models on a GPU against the CPU: losses, gradients, answers, steps, offloading, checkpointing, merging."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.errors import MergeRefusedError
from semtune.records import Example, RunSpec, SingleLabel, TargetSpace
from semtune.registry import METHODS
from semtune.specs import resolve, spec_from
from semtune.training.loop import optimizer_step
from semtune.training.schedule import Schedule

from ..combinations import COMBINATIONS, MODEL_TRAINING
from ..conftest import REVIEWS

pytestmark = pytest.mark.gpu
SPACE = TargetSpace("single_label", ("bad", "good"))
EXAMPLES = [Example(str(i), f"{text}, {i}", SingleLabel(label)) for i, (text, label) in enumerate(REVIEWS * 4)]


def spec_of(model: Path, **changes: Any) -> RunSpec:
    """A resolved spec in fp32 without dropout."""
    values = {"task": "practice", "model": str(model), "readout": "generate", "dropout": 0.0, **changes}
    if not hasattr(METHODS.get(values["method"]).presets["default"], "dropout"):
        del values["dropout"]
    if METHODS.get(values["method"]).presets["default"].precision == "auto":
        values.setdefault("precision", "fp32")
    return resolve(spec_from(values, "the test"))


def built(spec: RunSpec, device: str) -> TunedModel:
    return TunedModel.build(dataclasses.replace(spec, device=device), SPACE)


def batches(tuned: TunedModel) -> list[list[Any]]:
    texts = [tuned.readout.encode(e) for e in EXAMPLES]
    return [texts[i : i + 8] for i in range(0, len(texts), 8)]


def trained(tuned: TunedModel, steps: int) -> list[float]:
    """Losses of some steps."""
    optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(steps, 0.0))
    tuned.loaded.model.train()
    losses = []
    for step in range(steps):
        losses.append(optimizer_step(tuned.readout, optimizer, [batches(tuned)[step % 2]], 1.0)[0])
    return losses


@pytest.mark.parametrize(("method", "readout"), COMBINATIONS)
def test_first_losses_gradients_and_answers_equal_the_cpus(method: str, readout: str, tiny_model: Path) -> None:
    spec = spec_of(tiny_model, method=method, readout=readout)
    found = []
    for device in ("cpu", "cuda"):
        tuned = built(spec, device)
        tuned.loaded.model.train()
        loss, count = tuned.readout.loss(batches(tuned)[0])
        (loss / count).backward()
        trained_ones = {n: p for group in tuned.groups() for n, p in group.parameters.items()}
        gradients = {n: p.grad.float().cpu() for n, p in trained_ones.items() if p.grad is not None}
        found.append((float(loss.detach()), gradients, tuned.predict(EXAMPLES)))
    (a, a_grads, a_answers), (b, b_grads, b_answers) = found
    tolerance = 3e-2 if METHODS.get(method).presets["default"].precision != "auto" else 1e-4  # bf16 on the GPU only
    assert a == pytest.approx(b, rel=tolerance)
    assert a_grads.keys() == b_grads.keys()
    whole = torch.cat([g.flatten() for g in a_grads.values()])
    other = torch.cat([g.flatten() for g in b_grads.values()])
    assert float((whole - other).norm() / whole.norm()) < 10 * tolerance
    if tolerance < 1e-3:
        assert [p.labels for p in a_answers] == [p.labels for p in b_answers]


@pytest.mark.parametrize("method", MODEL_TRAINING)
def test_activation_checkpointing_changes_no_loss(method: str, tiny_model: Path) -> None:
    plain, saving = (
        trained(built(spec_of(tiny_model, method=method, activation_checkpointing=on), "cuda"), 4)
        for on in (False, True)
    )
    assert plain == pytest.approx(saving, rel=1e-3)
    assert plain[-1] < plain[0]


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_offloaded_weights_give_the_same_losses(method: str, tiny_model: Path) -> None:
    on_device = built(spec_of(tiny_model, method=method), "cuda")
    offloaded = built(dataclasses.replace(spec_of(tiny_model, method=method), offload_bytes=1 << 30), "cuda")
    assert any(not p.is_cuda for p in offloaded.loaded.model.buffers())
    assert trained(on_device, 4) == pytest.approx(trained(offloaded, 4), rel=1e-5)


@pytest.mark.parametrize(
    "method", [m for m in MODEL_TRAINING if m != "full" and not hasattr(METHODS.get(m), "merge_refusal")]
)
def test_merging_keeps_the_answers(method: str, tiny_model: Path) -> None:
    tuned = built(spec_of(tiny_model, method=method), "cuda")
    trained(tuned, 2)
    before = tuned.predict(EXAMPLES)
    if tuned.settings.precision in ("nf4",):
        pytest.skip("4-bit weights are merged with a warning of their own")
    try:
        tuned.merge()
    except MergeRefusedError as refusal:
        assert "nonlinear" in str(refusal)
    assert [p.labels for p in tuned.predict(EXAMPLES)] == [p.labels for p in before]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_full_fine_tuning_learns_in_bf16(optimizer: str, tiny_model: Path) -> None:
    losses = trained(built(spec_of(tiny_model, method="full", precision="bf16", optimizer=optimizer), "cuda"), 12)
    assert losses[-1] < losses[0]
