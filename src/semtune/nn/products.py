"""fp32 matrix products on a CPU by a compiled loop, where that is faster than the library that torch calls.

On AMD's processors torch's library (MKL) multiplies the matrices of a small model at 75 to 90% of what its own largest
product reaches, and that product below the loop's: docs/LOG.md has the figures. On Intel's it is used as it is. Results
are those of an fp32 product to the order of summation, and do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from semtune.nn.kernels import in_main_memory, library, run
from semtune.nn.operator_registry import composite
from semtune.runtime.processor import cpu_vendor, instruction_level

MIN_ROWS = 16
"""Fewer rows do not repay copying the right factor into the cache."""
LANES = 16
"""Columns of the result must be a multiple of this."""


def faster_than_library(dtype: torch.dtype) -> bool:
    """Whether products in `dtype` on this CPU are this module's."""
    return dtype == torch.float32 and _enabled()


@functools.cache
def _enabled() -> bool:
    return library() is not None and instruction_level() in ("avx2", "avx512") and cpu_vendor() != "GenuineIntel"


def usable(left: Tensor, right: Tensor, *, rows: int, columns: int) -> bool:
    """Whether `product` takes these factors, for a result of (rows, columns), and pays."""
    return (
        rows >= MIN_ROWS
        and columns % LANES == 0
        and left.numel() > 0
        and _enabled()
        and all(_is_real_fp32(x) and x.is_contiguous() for x in (left, right))
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """x Wᵀ + bias, (..., in), (out, in) and (out,) -> (..., out); None where `product` does not take it."""
    if not usable(x, weight, rows=_rows(x), columns=len(weight)):
        return None
    y: Tensor = product(x, weight, False, True)
    return y if bias is None else y.add_(bias)


def grad_input(grad: Tensor, weight: Tensor) -> Tensor | None:
    """grad W, (rows, out) and (out, in) -> (rows, in); None where `product` does not take it."""
    if not usable(grad, weight, rows=len(grad), columns=weight.shape[1]):
        return None
    grad_x: Tensor = product(grad, weight, False, False)
    return grad_x


def grad_weight(grad: Tensor, x: Tensor) -> Tensor | None:
    """gradᵀ x, (rows, out) and (rows, in) -> (out, in); None where `product` does not take it."""
    if len(x) < MIN_ROWS or not usable(grad, x, rows=grad.shape[1], columns=x.shape[1]):
        return None
    grad_w: Tensor = product(grad, x, True, False)
    return grad_w


def _outputs(left: Tensor, right: Tensor, left_transposed: bool, right_transposed: bool) -> Tensor:
    columns = right.shape[0 if right_transposed else 1]
    return left.new_empty(*(left.shape[1:] if left_transposed else left.shape[:-1]), columns)


@composite(
    "product(Tensor left, Tensor right, bool left_transposed, bool right_transposed) -> Tensor", outputs=_outputs
)
def product(left: Tensor, right: Tensor, left_transposed: bool, right_transposed: bool) -> Tensor:
    """left (..., inner) times right (inner, columns); each may be stored transposed, the left one only if 2-D.

    What is not `usable` is multiplied by torch.
    """
    out = _outputs(left, right, left_transposed, right_transposed)
    columns = out.shape[-1]
    if not usable(left, right, rows=_rows(out), columns=columns):
        return (left.t() if left_transposed else left) @ (right.t() if right_transposed else right)
    factor = left.t() if left_transposed else left.view(-1, left.shape[-1])
    _run(out.view(-1, columns), factor, right, right_transposed, add=False)
    return out


def multiply_into_(
    out: Tensor, left: Tensor, right: Tensor, *, right_transposed: bool = False, add: bool = False
) -> bool:
    """`out` (rows, columns) = or += left (rows, inner) times right (inner, columns), which may be stored transposed.

    Rows of each may lie apart, as in a slice of columns, and `left` may be a transposed view. Returns whether it was
    done; where it was not, `out` is unchanged.
    """
    rows, columns = out.shape
    if rows < MIN_ROWS or columns % LANES or not _enabled():
        return False
    if not all(
        x.dtype == torch.float32 and type(x) is not FakeTensor and in_main_memory(x) for x in (out, left, right)
    ):
        return False
    if out.stride(1) != 1 or right.stride(1) != 1:
        return False
    _run(out, left, right, right_transposed, add=add)
    return True


def _run(out: Tensor, left: Tensor, right: Tensor, right_transposed: bool, *, add: bool) -> None:
    """The compiled loop, on 2-D tensors."""
    strides = (*left.stride(), right.stride(0), int(right_transposed), out.stride(0), int(add))
    run("product", left, right, out, *out.shape, left.shape[1], *strides)


def _is_real_fp32(x: Tensor) -> bool:
    """Whether the loop can read `x`. A plan's tensors have no elements, and its products are to be torch's."""
    return x.dtype == torch.float32 and type(x) is not FakeTensor and in_main_memory(x)


def _rows(x: Tensor) -> int:
    return math.prod(x.shape[:-1])
