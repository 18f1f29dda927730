"""Every registered operator: its fake implementation, its schema, its cost, and what torch's own tools make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map

import semtune.nn.attention
import semtune.nn.linear
import semtune.nn.low_rank
import semtune.training.eight_bit
import semtune.training.optimizers.adafactor
import semtune.training.optimizers.apollo
import semtune.training.optimizers.lion
import semtune.training.optimizers.mezo
import semtune.training.optimizers.paged_adamw  # noqa: F401 - the modules that register operators
from semtune.nn import elementwise, kernels
from semtune.nn.kernels import BF16_ONLY
from semtune.nn.operator_registry import OPERATORS, Operator, OperatorCost, composite, negligible
from tests.nn.operator_samples import SAMPLES, bf16

BY_NAME = {str(overload.name()).removeprefix("semtune::"): operator for overload, operator in OPERATORS.items()}
compiled = pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")
OPAQUE = {"prepack_weight"}
"""Their real output has a layout of oneDNN's, which a fake tensor cannot have."""


def can_run(name: str) -> bool:
    """Without compiled kernels only formulas run; oneDNN orders bf16 weights on some processors alone."""
    if name in OPAQUE:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return kernels.library() is not None or BY_NAME[name].formula is not None or name == "draw_seed"


runnable = pytest.mark.parametrize("name", [n for n in BY_NAME if can_run(n)])


def likeness(out: Any, *, layout: bool = True) -> list[Any]:
    """Shape, dtype, device, strides and storage of each tensor that an operator returned, the type of what is none."""
    found: list[Any] = []
    for x in out if isinstance(out, (tuple, list)) else [out]:
        if not isinstance(x, Tensor):
            found.append(type(x))
            continue
        found.append((x.shape, x.dtype, x.device))
        if layout:
            found.append((x.stride(), x.storage_offset(), x.untyped_storage().nbytes()))
    return found


def as_fakes(mode: FakeTensorMode, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    fakes: tuple[Any, ...] = tree_map(lambda a: mode.from_tensor(a) if isinstance(a, Tensor) else a, arguments)
    return fakes


def check_fake(operator: Operator, arguments: tuple[Any, ...], *, layout: bool = True) -> None:
    """The fake implementation returns what the real one returns, but for the numbers."""
    real = operator.overload(*tree_map(lambda a: a.clone() if isinstance(a, Tensor) else a, arguments))
    mode = FakeTensorMode()
    fake_arguments = as_fakes(mode, arguments)
    with mode:
        fake = operator.overload(*fake_arguments)
    assert all(isinstance(x, FakeTensor) for x in tree_leaves(fake) if isinstance(x, Tensor))
    assert likeness(fake, layout=layout) == likeness(real, layout=layout)


def test_every_operator_has_samples() -> None:
    assert set(SAMPLES) == {name for name in BY_NAME if not name.startswith("test_")}


def samples(name: str) -> list[tuple[Any, ...]]:
    """The samples; of a loop that has an fp32 variant also in fp32."""
    given = SAMPLES[name]()
    if BY_NAME[name].cost is None or name.rstrip("_") in BF16_ONLY or not any(is_bf16(a) for s in given for a in s):
        return given
    return given + [tuple(a.float() if is_bf16(a) else a for a in sample) for sample in SAMPLES[name]()]


def is_bf16(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.dtype == torch.bfloat16


@runnable
def test_the_fake_implementation_agrees_with_the_real_one(name: str) -> None:
    for arguments in samples(name):
        check_fake(BY_NAME[name], arguments, layout=name not in OPAQUE)


@pytest.fixture
def registered() -> Any:
    """Forgets the operators that a test registers."""
    before = dict(OPERATORS)
    yield
    OPERATORS.clear()
    OPERATORS.update(before)


@pytest.mark.parametrize(
    "outputs",
    [lambda x: x.new_empty(3, 4), lambda x: x.new_empty(4, 3, dtype=torch.float64), lambda x: x.new_empty(3, 4).t()],
    ids=["shape", "dtype", "strides"],
)
def test_a_wrong_fake_implementation_is_noticed(
    registered: None, request: pytest.FixtureRequest, outputs: Callable[..., Any]
) -> None:
    name = f"test_wrong_{request.node.callspec.id}"
    overload = composite(f"{name}(Tensor x) -> Tensor", outputs=outputs)(lambda x: x.t().contiguous())
    with pytest.raises(AssertionError):
        check_fake(OPERATORS[overload], (torch.ones(3, 4),))


@runnable
def test_torchs_own_checks_of_an_operator(name: str) -> None:
    """Schema (what is written to is marked, and nothing else is), registrations, fake tensors, tracing."""
    if name in OPAQUE or name == "draw_seed":
        pytest.skip("no tensors that the checks can compare")
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    for arguments in samples(name):
        torch.library.opcheck(BY_NAME[name].overload, arguments, test_utils=checks)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_operator_declares_its_cost_or_its_formula(name: str) -> None:
    operator = BY_NAME[name]
    assert (operator.cost is None) != (operator.formula is None)
    if operator.cost is None or not can_run(name):
        return
    for arguments in samples(name):
        out = operator.overload(*arguments)
        cost = operator.cost(*arguments, out=out)
        assert operator.cost is negligible or cost != OperatorCost()
        mode = FakeTensorMode()
        with mode:
            fakes = as_fakes(mode, arguments)
            assert operator.cost(*fakes, out=operator.overload(*fakes)) == cost  # shapes and dtypes decide alone


@compiled
def test_a_loops_bytes_are_those_of_its_arguments_and_outputs() -> None:
    gate, up = bf16(5, 12), bf16(5, 12)
    operator = BY_NAME["swiglu"]
    assert operator.cost is not None
    assert operator.cost(gate, up, out=operator.overload(gate, up)) == OperatorCost(moved_bytes=3 * 5 * 12 * 2)


@compiled
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, while it traces
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_takes_the_operators(backend: str) -> None:
    torch.compiler.reset()
    found = []
    for function in (elementwise.swiglu, torch.compile(elementwise.swiglu, backend=backend, fullgraph=True)):
        gate, up = bf16(5, 12).requires_grad_(True), bf16(5, 12).requires_grad_(True)
        y = function(gate, up)
        y.sum().backward()
        found.append((y.detach(), gate.grad, up.grad))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@compiled
def test_a_trace_has_the_operator_in_its_graph() -> None:
    graph = make_fx(lambda x, w: BY_NAME["rms_norm"].overload(x, w, 1e-5)[0], tracing_mode="fake")(
        bf16(5, 12), bf16(12)
    )
    assert BY_NAME["rms_norm"].overload in [node.target for node in graph.graph.nodes]
    x, w = bf16(5, 12), bf16(12)
    assert torch.equal(graph(x, w), BY_NAME["rms_norm"].overload(x, w, 1e-5)[0])
