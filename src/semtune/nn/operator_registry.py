"""Registers operators in torch's dispatcher under the namespace `semtune`, each with a fake implementation and a cost.

A registered operator (`torch.library`) is visible to everything below Python functions: FakeTensorMode runs its fake
implementation, dispatch modes see one call of it, torch.compile puts it into its graph. Two kinds exist:

- `compiled`: a loop in C (`nn.kernels`) for CPU tensors. Its cost is declared beside it, as in torch's `flop_registry`,
  because no mode sees inside it.
- `composite`: a formula in torch operations for every device. Its cost is that of these operations; a recorder
  runs `Operator.formula` instead of the operator, as with torch's decomposition tables.

docs/LOG.md has the measured overhead of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "semtune"
_library = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """The cost of one call of an operator, by the resource that bounds it."""

    moved_bytes: int = 0
    """Bytes read and written, where memory bandwidth is the bound."""
    loop_flops: float = 0.0
    """Floating-point operations of small products inside the loop."""
    unpacked_bytes: int = 0
    """Bytes read and written while codes are dequantised, where that is the bound."""
    workspace_bytes: int = 0
    """Bytes allocated for the duration of the call, beyond the outputs."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One registered operator. Exactly one of `cost` and `formula` is given."""

    overload: Any
    """torch.ops.semtune.NAME.default."""
    cost: Callable[..., OperatorCost] | None = None
    """(*arguments, out=outputs) -> the cost of the call, from shapes and dtypes alone."""
    formula: Callable[..., Any] | None = None
    """The torch operations of the call, as a function of the operator's arguments."""
    chunked: bool = False
    """Whether `formula` loops over chunks, each of which reuses the memory of the one before."""


OPERATORS: dict[Any, Operator] = {}
"""All registered operators, by overload."""


def tensor_bytes(x: Tensor) -> int:
    """Bytes of the elements of `x`."""
    return x.numel() * x.element_size()


def moved(*arguments: Any, out: Any) -> OperatorCost:
    """The cost of a loop that reads its arguments and writes its outputs once."""
    return OperatorCost(moved_bytes=traffic_bytes(arguments, out))


def negligible(*arguments: Any, out: Any) -> OperatorCost:
    """The cost of an operator that handles a few numbers."""
    return OperatorCost()


def traffic_bytes(arguments: Any, out: Any) -> int:
    """Bytes of all tensors among an operator's arguments and outputs."""
    outputs = out if isinstance(out, tuple) else (out,)
    return sum(tensor_bytes(x) for x in (*arguments, *outputs) if isinstance(x, Tensor))


def no_output(*arguments: Any) -> None:
    """No outputs: the operator only writes to its arguments."""


def compiled(
    schema: str, *, outputs: Callable[..., Any] = no_output, cost: Callable[..., OperatorCost] = moved
) -> Callable[[Callable[..., None]], Callable[..., Any]]:
    """Decorates the function that fills an operator's outputs by a compiled loop: (outputs, *arguments) -> None.

    Args:
        schema: in torch's notation, without the namespace; written arguments are marked, as `Tensor(a!) x`.
        outputs: (*arguments) -> the new tensors that the operator returns, not yet filled. It is the fake
            implementation too, so that the two cannot disagree. None: an output that is not needed.
        cost: see `Operator`.

    Returns:
        The operator, to be called with positional arguments.
    """

    def register(fill: Callable[..., None]) -> Callable[..., Any]:
        def on_cpu(*arguments: Any) -> Any:
            out = outputs(*arguments)
            fill(out, *arguments)
            return out

        overload = _define(schema, on_cpu, "CPU", outputs)
        OPERATORS[overload] = Operator(overload, cost=cost)
        return overload  # type: ignore[no-any-return]

    return register


def composite(
    schema: str,
    *,
    outputs: Callable[..., Any] = no_output,
    chunked: bool = False,
    cost: Callable[..., OperatorCost] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function of torch operations, which becomes an operator for every device.

    For functions that run many small operations or loop over chunks. Their operations may depend only on the shapes and
    dtypes of tensors and on plain arguments. They must return new tensors or nothing.

    Args:
        schema, outputs: as in `compiled`.
        chunked: see `Operator`.
        cost: for a function whose operations cannot run on fake tensors; used instead of the formula.

    Returns:
        The operator, to be called with positional arguments.
    """

    def register(formula: Callable[..., Any]) -> Callable[..., Any]:
        overload = _define(schema, formula, "CompositeExplicitAutograd", outputs)
        OPERATORS[overload] = Operator(overload, cost, formula if cost is None else None, chunked)
        return overload  # type: ignore[no-any-return]

    return register


def _define(schema: str, implementation: Callable[..., Any], key: str, fake: Callable[..., Any]) -> Any:
    name = schema[: schema.index("(")]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    _library.impl(name, implementation, key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    return getattr(getattr(torch.ops, NAMESPACE), name).default
