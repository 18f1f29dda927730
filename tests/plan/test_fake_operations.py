"""Operations done without FakeTensorMode's memory of them, against the same done by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.plan import fake_operations
from semtune.plan.fake_operations import DIRECT, directly
from tests.plan.conftest import Toy

aten = torch.ops.aten
SHAPE = (4, 6)
ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    aten.select.int: (1, 2),
    aten.slice.Tensor: (1, 1, 5, 2),
    aten.sum.dim_IntList: ([1], True),
    aten.transpose.int: (0, 1),
    aten.unsqueeze.default: (1,),
    aten.view.default: ([3, 8],),
}


@pytest.mark.parametrize("func", sorted(DIRECT, key=str), ids=str)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_result_is_the_modes(func: Any, device: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = torch.empty(SHAPE, dtype=torch.bfloat16, device=device)
        rest = (torch.empty(6, 3, dtype=torch.bfloat16, device=device),) if func is aten.mm.default else ()
        rest = (*rest, *ARGUMENTS.get(func, ()))
        expected = func(x, *rest)
    found = directly(mode, func, (x, *rest), {})
    assert type(found) is type(expected)
    for of in ("shape", "dtype", "fake_device", "stride", "storage_offset"):
        ours, modes = (getattr(y, of) for y in (found, expected))
        assert (ours() if callable(ours) else ours) == (modes() if callable(modes) else modes)
    shared = [y.untyped_storage()._cdata == x.untyped_storage()._cdata for y in (found, expected)]
    assert shared[0] == shared[1], "a view shares its tensor's memory"


def test_all_else_is_left_to_the_mode() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        here, card = torch.empty(2, 2), torch.empty(2, 2, device="cuda")
    real = torch.ones(2, 2)
    for func, args, kwargs in [
        (aten.mm.default, (here, card), {}),
        (aten.mm.default, (here, real), {}),
        (aten.sum.dim_IntList, (here, [0]), {"dtype": torch.float64}),
        (aten.exp.default, (here,), {}),
    ]:
        assert directly(mode, func, args, kwargs) is NotImplemented


@pytest.mark.parametrize("method", ["dora", "qlora"])
def test_a_plan_is_the_same(toy: Toy, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = toy.spec(method=method, precision=None)
    found = toy.trace(spec)
    monkeypatch.setattr(fake_operations, "DIRECT", frozenset())
    assert toy.trace(spec) == found
