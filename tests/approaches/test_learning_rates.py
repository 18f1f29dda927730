"""LoRA+: B's learning rate is a multiple of A's, in every kind of optimizer state; PEFT's optimizer is the oracle."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.methods._low_rank import adapters
from semtune.models.loading import load
from semtune.records import RunSpec, TargetSpace
from semtune.specs import resolve
from semtune.training.optimizer import Optimizer
from semtune.training.schedule import Schedule

RATE, RATIO = 1e-3, 16.0


def tuned(model: Path, method: str, optimizer: str = "adamw", **options: object) -> TunedModel:
    given = {"learning_rate": RATE, "precision": "fp32", "rank": 8, "dropout": 0.0, **options}
    spec = resolve(RunSpec("practice", model=str(model), method=method, optimizer=optimizer, method_options=given))
    loaded = load(spec.model, precision="fp32", device="cpu")
    return TunedModel(spec, loaded, TargetSpace("single_label", ("x", "y")))


def first_changes(model: TunedModel) -> dict[str, float]:
    """How far each parameter moves in one step of AdamW on a gradient of ones: its learning rate."""
    groups = model.groups()
    parameters = {name: p for group in groups for name, p in group.parameters.items()}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = Optimizer(groups, Schedule(10, 0.0))
    assert optimizer.learning_rate() == RATE
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.accumulate()
    optimizer.step()
    return {name: float((before[name] - p.detach()).mean()) for name, p in parameters.items()}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_b_moves_by_the_ratio(method: str, optimizer: str, tiny_model: Path) -> None:
    model = tuned(tiny_model, method, optimizer, lora_plus_ratio=RATIO)
    for name, change in first_changes(model).items():
        expected = RATE * (RATIO if name.endswith("lora_B") else 1)
        if name.startswith("model."):  # the head has a learning rate of its own
            assert change == pytest.approx(expected, rel=0.02), name


def test_without_a_ratio_there_is_one_group(tiny_model: Path) -> None:
    model = tuned(tiny_model, "lora")
    first = model.groups()[0]
    assert first.learning_rate == RATE
    assert first.parameters.keys() == model.method.trainable(model.loaded.model).keys()


def test_rates_of_a_and_b_are_those_of_peft(tiny_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft, optimizers = pytest.importorskip("peft"), pytest.importorskip("peft.optimizers")
        from transformers import AutoModelForCausalLM

        theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), peft.LoraConfig(r=8))
        optimizer = optimizers.create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO)
    expected = {
        next(name for name in ("lora_A", "lora_B") if name in path): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
        for path, other in theirs.named_parameters()
        if other is parameter
    }
    groups = tuned(tiny_model, "lora", lora_plus_ratio=RATIO).groups()
    found = {name.rpartition(".")[2]: g.learning_rate for g in groups for name in g.parameters if ".lora_" in name}
    assert found == expected == {"lora_A": RATE, "lora_B": RATE * RATIO}


def test_a_frozen_a_is_not_trained_but_saved(tiny_model: Path, tmp_path: Path) -> None:
    model, other = (tuned(tiny_model, "dora", freeze_a=True) for _ in range(2))
    trained = model.method.trainable(model.loaded.model)
    assert trained and {name.rpartition(".")[2] for name in trained} == {"lora_B", "magnitude"}
    before = [adapter.lora_A.clone() for adapter in adapters(model.loaded.model).values()]
    first_changes(model)
    found = adapters(model.loaded.model)
    assert all(torch.equal(a, adapter.lora_A) for a, adapter in zip(before, found.values(), strict=True))
    with torch.no_grad():
        for adapter in adapters(other.loaded.model).values():
            adapter.lora_A.zero_()
    model.save(tmp_path)
    other.restore(tmp_path)
    for path, adapter in adapters(other.loaded.model).items():
        assert torch.equal(adapter.lora_A, found[path].lora_A) and torch.equal(adapter.lora_B, found[path].lora_B)
