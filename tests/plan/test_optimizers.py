"""Plans of every optimizer and of fused updates: few layers against all, fake tensors against real ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from semtune.errors import OptionError
from semtune.plan import advice, extrapolate
from semtune.plan.devices import parse_device
from semtune.registry import OPTIMIZERS
from tests.plan.conftest import LAYERS, Toy
from tests.plan.test_planner import HERE, big, planner_for, room
from tests.plan.test_trace import check_stretched, off, real_train_peak

ON_CPU = [name for name in OPTIMIZERS if "cpu" in OPTIMIZERS.get(name).device_types]
FUSED = [{"optimizer": name, "fused_update": True} for name in ON_CPU if OPTIMIZERS.get(name).uses_gradients]
WAYS: list[dict[str, Any]] = [
    *({"optimizer": name} for name in ON_CPU),
    *FUSED,
    {"fused_update": True, "fused_clip": "total"},
    {"fused_update": True, "activation_checkpointing": True},
    {"fused_update": True, "readout": "generate"},
]
IN_SHORT = [{"optimizer": "mezo"}, {"optimizer": "adamw", "fused_update": True}]


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way in IN_SHORT else [pytest.mark.slow], id=str(way)) for way in WAYS]
)
def test_few_layers_stretched_are_all_layers(toy: Toy, way: dict[str, Any]) -> None:
    few, shallow, deep, full = check_stretched(toy, toy.spec(method="full", precision="fp32", **way))
    for a, b, whole in zip(shallow.sections, deep.sections, full.sections, strict=True):
        cold = extrapolate.total(a, b, LAYERS - few, lambda s: float(sum(s.cold_bytes)))
        assert cold == pytest.approx(sum(whole.cold_bytes), rel=0.02), a.name
    assert shallow.step_ends == full.step_ends


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way in IN_SHORT else [pytest.mark.slow], id=str(way)) for way in WAYS]
)
def test_a_plan_is_what_a_real_step_holds(toy: Toy, way: dict[str, Any]) -> None:
    spec = toy.spec(method="full", precision="fp32", **way)
    assert off(toy.trace(spec).tensor_bytes["train"], real_train_peak(toy, spec)) < 0.015


def test_a_fused_update_needs_little_beside_weights_and_state(toy: Toy) -> None:
    """At most 10% over weights, masters and moments; all gradients at once are a sixth of them or more."""
    spec = big(toy).spec(method="full", precision="bf16", batch_size=1, max_length=8)
    apart, fused = (toy.trace(dataclasses.replace(spec, fused_update=f)) for f in (False, True))
    assert fused.kept_bytes == pytest.approx(apart.kept_bytes, abs=1024)
    assert fused.tensor_bytes["train"] < 1.1 * fused.kept_bytes
    assert apart.tensor_bytes["train"] > 1.15 * apart.kept_bytes
    assert fused.step.flops == apart.step.flops
    assert fused.step.cold_bytes == pytest.approx(apart.step.cold_bytes, rel=0.2)


def test_without_gradients_training_takes_the_memory_of_predicting(toy: Toy) -> None:
    spec = big(toy).spec(method="full", optimizer="mezo", master_weights=False, batch_size=20, max_length=24)
    bytes_of = toy.trace(spec).tensor_bytes
    assert bytes_of["train"] < 1.05 * bytes_of["evaluate"]


@pytest.mark.slow
def test_paged_moments_are_no_memory_of_the_gpu(toy: Toy) -> None:
    spec = big(toy).spec(method="full", precision="bf16")
    card = parse_device("80GB", HERE)
    plain, paged = (
        planner_for(toy, card).estimate(dataclasses.replace(spec, optimizer=name)).trace.kept_bytes
        for name in ("adamw", "paged-adamw")
    )
    assert paged == pytest.approx(plain * 4 / 12, rel=0.02)  # weights and residual bits, no moments


def test_paged_moments_are_refused_on_a_cpu(toy: Toy) -> None:
    with pytest.raises(OptionError, match=r"paged-adamw runs on cuda alone.*cpu; give --optimizer adamw or"):
        planner_for(toy, HERE).plan(toy.spec(method="full", optimizer="paged-adamw"))


@pytest.mark.slow
def test_a_fused_update_is_advised_where_it_makes_a_run_fit(toy: Toy) -> None:
    spec = big(toy).spec(method="full", precision="bf16")
    planner = planner_for(toy, room(toy, spec, 0.95))
    changes = [a.change for a in advice.advise(planner, spec)]
    assert {"fused_update": True} in changes
    adapters = toy.spec(method="lora", precision="bf16")
    assert not any(
        "fused_update" in a.change for a in advice.advise(planner_for(toy, room(toy, adapters, 0.9)), adapters)
    )
