"""A plan over a quantisation that a test registers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from semtune.nn.linear.frozen import plain_linear
from semtune.plan.devices import GIB
from semtune.plan.planner import fetched_bytes, spill_bytes
from semtune.registry import QUANTIZATIONS
from tests.models.test_quantizations import Int8
from tests.plan.conftest import Toy
from tests.plan.test_planner import big, planner_for, room
from tests.plan.test_trace import off, real_train_peak


class Rounded(Int8):
    """Plain weights, which can be offloaded."""

    name = "toy-rounded"
    offloadable = True

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        return plain_linear(weight.to(compute_dtype), None)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QUANTIZATIONS, "_entries", dict(QUANTIZATIONS._entries))
    QUANTIZATIONS.register("toy-int8", Int8(), "int8 weights, one scale a row")
    QUANTIZATIONS.register("toy-rounded", Rounded(), "plain weights")


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_plan_is_what_a_real_step_holds(method: str, toy: Toy) -> None:
    spec = toy.spec(method=method, readout="head", precision="toy-int8")
    planned = toy.trace(spec)
    assert off(planned.tensor_bytes["train"], real_train_peak(toy, spec)) < 0.01
    fp32 = toy.trace(toy.spec(method=method, readout="head", precision="fp32"))
    assert planned.frozen_bytes < 0.3 * fp32.frozen_bytes


def test_frozen_weights_spill_where_the_quantisation_can_be_offloaded(toy: Toy) -> None:
    big(toy)
    for precision, spills in (("toy-int8", False), ("toy-rounded", True)):
        spec = toy.spec(method="lora", precision=precision)
        device = dataclasses.replace(room(toy, spec, 0.8), spill_bytes=32 * GIB)
        found = planner_for(toy, device).estimate(spec)
        missing = found.highest_bytes - device.memory_bytes
        assert spill_bytes(found, device) == (missing + fetched_bytes(found.trace) if spills else 0)
