"""Fused updates and optimizers with every method, on a whole model; what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.errors import OptionError
from semtune.records import Example, RunSpec, SingleLabel, TargetSpace
from semtune.registry import METHODS, OPTIMIZERS
from semtune.specs import resolve, spec_from
from semtune.training.loop import optimizer_step
from semtune.training.schedule import Schedule

from ..combinations import MODEL_TRAINING
from ..conftest import REVIEWS

SPACE = TargetSpace("single_label", ("bad", "good"))
EXAMPLES = [Example(str(i), f"{text}, {i}", SingleLabel(label)) for i, (text, label) in enumerate(REVIEWS * 2)]


def spec_of(model: Path, **changes: Any) -> RunSpec:
    values = {"task": "practice", "model": str(model), "device": "cpu", "dropout": 0.1, **changes}
    return resolve(spec_from(values, "the test", shared=True))


def trained(spec: RunSpec, steps: int = 3) -> tuple[TunedModel, list[float]]:
    """The model after some steps whose gradients are not clipped, and their losses."""
    tuned = TunedModel.build(spec, SPACE)
    texts = [tuned.readout.encode(e) for e in EXAMPLES]
    optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(steps + 1, 0.0))
    tuned.loaded.model.train()
    torch.manual_seed(3)
    losses = [optimizer_step(tuned.readout, optimizer, [texts], 1e9)[0] for _ in range(steps)]
    return tuned, losses


def parameters(tuned: TunedModel) -> dict[str, torch.Tensor]:
    return {name: p for group in tuned.groups() for name, p in group.parameters.items()}


@pytest.mark.parametrize(
    "options",
    [
        *({"method": method, "readout": "head"} for method in METHODS),
        *({"method": method, "readout": "generate", "activation_checkpointing": True} for method in MODEL_TRAINING),
        {"method": "full", "readout": "generate", "precision": "bf16"},
    ],
    ids=str,
)
def test_a_fused_update_is_the_same_training(options: dict[str, Any], tiny_model: Path) -> None:
    """To the bit: no method uses a weight again in the backward after its gradient is whole."""
    apart, fused = (trained(spec_of(tiny_model, fused_update=f, **options)) for f in (False, True))
    assert fused[1] == apart[1]
    expected = parameters(apart[0])
    for name, parameter in parameters(fused[0]).items():
        assert torch.equal(parameter, expected[name]), name


@pytest.mark.parametrize("optimizer", [n for n in OPTIMIZERS if "cpu" in OPTIMIZERS.get(n).device_types])
@pytest.mark.parametrize(("method", "precision"), [("full", "fp32"), ("full", "bf16"), ("lora", "fp32")])
def test_every_optimizer_trains(optimizer: str, method: str, precision: str, tiny_model: Path) -> None:
    options = {"rank": 4} if optimizer == "apollo" else {}
    rate = {"mezo": 1e-5, "lion": 1e-4}.get(optimizer, 5e-4)
    spec = spec_of(
        tiny_model, method=method, precision=precision, optimizer=optimizer, optimizer_options=options,
        learning_rate=rate, dropout=0.0,
    )  # fmt: skip
    tuned, losses = trained(spec, 12)
    assert losses[-1] < losses[0]
    assert all(p.grad is None for p in parameters(tuned).values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fused_update": True, "accumulation_steps": 2}, "--accumulation-steps 1"),
        ({"fused_clip": "total"}, "--fused-update"),
        ({"fused_update": True, "optimizer": "mezo"}, "mezo runs no backward"),
        ({"optimizer": "lion", "optimizer_options": {"rank": 3}}, 'The optimizer lion has no option "rank"'),
        ({"optimizer_options": {"rank": 3}}, 'The optimizer adamw has no option "rank"; it has none'),
    ],
)
def test_what_cannot_be_combined_is_refused_before_loading(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        resolve(spec_from({"task": "practice", "model": "nowhere", "method": "full", **changes}, "the test"))


def test_apollo_beside_small_adapters_is_refused(tiny_model: Path) -> None:
    spec = spec_of(tiny_model, method="lora", optimizer="apollo")
    with pytest.raises(OptionError, match="APOLLO would project none"):
        trained(spec)
