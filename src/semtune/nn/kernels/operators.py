"""Operators over rows of numbers: norms, SwiGLU, dropout, loss, argmax, DoRA's scaling.

Tensors are bf16 or fp32, of one dtype, and contiguous unless a line says otherwise. The module of `nn` that calls an
operator has its formula; this one has the schema, the outputs and the call of the compiled loop.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semtune.nn.kernels import run
from semtune.nn.operator_registry import compiled


def _like(x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x)


def _inverse_rms(x: Tensor) -> Tensor:
    """1 / rms of every row, fp32 (rows, 1)."""
    return x.new_empty(x.shape[0], 1, dtype=torch.float32)


@compiled(
    "rms_norm(Tensor x, Tensor weight, float eps) -> (Tensor, Tensor)",
    outputs=lambda x, weight, eps: (torch.empty_like(x), _inverse_rms(x)),
)
def rms_norm(out: tuple[Tensor, Tensor], x: Tensor, weight: Tensor, eps: float) -> None:
    """(rows, width) -> its norm (rows, width) and 1 / rms, fp32 (rows, 1)."""
    run("norm", x, None, weight, eps, None, *out, *x.shape)


@compiled(
    "add_rms_norm(Tensor x, Tensor delta, Tensor weight, float eps) -> (Tensor, Tensor, Tensor)",
    outputs=lambda x, delta, weight, eps: (torch.empty_like(x), torch.empty_like(x), _inverse_rms(x)),
)
def add_rms_norm(out: tuple[Tensor, Tensor, Tensor], x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> None:
    """(rows, width) twice -> their sum, its norm, and 1 / rms, fp32 (rows, 1)."""
    run("norm", x, delta, weight, eps, *out, *x.shape)


@compiled(
    "rms_norm_backward(Tensor x, Tensor weight, Tensor inverse, Tensor grad_y, Tensor? grad_x) -> Tensor", outputs=_like
)
def rms_norm_backward(
    out: Tensor, x: Tensor, weight: Tensor, inverse: Tensor, grad_y: Tensor, grad_x: Tensor | None
) -> None:
    """The gradient (rows, width) through the norm, `grad_x` added."""
    run("norm_backward", x, weight, inverse, grad_y, grad_x, out, *x.shape)


@compiled(
    "rms_norm_weight_grad(Tensor x, Tensor inverse, Tensor grad_y) -> Tensor",
    outputs=lambda x, inverse, grad_y: x.new_empty(x.shape[1], dtype=torch.float32),
)
def rms_norm_weight_grad(out: Tensor, x: Tensor, inverse: Tensor, grad_y: Tensor) -> None:
    """The gradient of the norm's weight, fp32 (width,)."""
    run("norm_weight", x, inverse, grad_y, out, *x.shape)


@compiled("swiglu(Tensor gate, Tensor up) -> Tensor", outputs=_like)
def swiglu(out: Tensor, gate: Tensor, up: Tensor) -> None:
    """silu(gate) ⊙ up, all of one shape."""
    run("swiglu", gate, up, out, gate.numel())


@compiled(
    "swiglu_backward(Tensor gate, Tensor up, Tensor grad_y) -> (Tensor, Tensor)",
    outputs=lambda gate, up, grad_y: (torch.empty_like(gate), torch.empty_like(up)),
)
def swiglu_backward(out: tuple[Tensor, Tensor], gate: Tensor, up: Tensor, grad_y: Tensor) -> None:
    """The gradients of gate and up."""
    run("swiglu_backward", gate, up, grad_y, *out, gate.numel())


@compiled("dropout(Tensor x, int seed, int threshold) -> Tensor", outputs=_like)
def dropout(out: Tensor, x: Tensor, seed: int, threshold: int) -> None:
    """x where kept, else 0; not scaled. `seed`: the 64 bits as a signed number."""
    run("dropout", x, out, x.numel(), seed, threshold)


@compiled("add_masked_(Tensor(a!) total, Tensor delta, int seed, int threshold) -> ()")
def add_masked_(out: None, total: Tensor, delta: Tensor, seed: int, threshold: int) -> None:
    """total += delta where kept."""
    run("add_kept", total, delta, total.numel(), seed, threshold)


@compiled(
    "cross_entropy_(Tensor(a!) scores, Tensor targets, bool needs_grad) -> Tensor",
    outputs=lambda scores, targets, needs_grad: scores.new_empty(len(scores), dtype=torch.float32),
)
def cross_entropy_(out: Tensor, scores: Tensor, targets: Tensor, needs_grad: bool) -> None:
    """(rows, vocab) and int64 (rows,) -> fp32 losses (rows,); `scores` become their gradient where `needs_grad`."""
    run("cross_entropy", scores, targets, out, *scores.shape, int(needs_grad))


@compiled("row_argmax(Tensor x) -> Tensor", outputs=lambda x: x.new_empty(len(x), dtype=torch.int64))
def row_argmax(out: Tensor, x: Tensor) -> None:
    """(rows, width) -> int64 (rows,), the first of equals."""
    run("argmax", x, out, *x.shape)


@compiled("scale_columns_(Tensor(a!) z, Tensor factor) -> ()")
def scale_columns_(out: None, z: Tensor, factor: Tensor) -> None:
    """z (..., width) times fp32 `factor` (width,)."""
    run("scale_columns", z, factor, z.numel() // z.shape[-1], z.shape[-1])


@compiled(
    "scale_columns_backward(Tensor grad_y, Tensor y, Tensor factor, Tensor? divisor) -> (Tensor, Tensor)",
    outputs=lambda grad_y, y, factor, divisor: (torch.empty_like(y), torch.empty_like(factor)),
)
def scale_columns_backward(
    out: tuple[Tensor, Tensor], grad_y: Tensor, y: Tensor, factor: Tensor, divisor: Tensor | None
) -> None:
    """The gradient of z, and the column sums of grad_y ⊙ y in fp32 (width,), over `divisor` (width,) if given."""
    width = y.shape[-1]
    totals = torch.empty(torch.get_num_threads() * width, dtype=torch.float32)
    run("scale_columns_backward", grad_y, y, factor, divisor, *out, totals, y.numel() // width, width)


@compiled(
    "row_norms(Tensor crossed, Tensor squares, Tensor a, Tensor b, float scale) -> Tensor",
    outputs=lambda crossed, squares, a, b, scale: torch.empty_like(squares),
)
def row_norms(out: Tensor, crossed: Tensor, squares: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
    """Norms (out,) of the rows of W + scale B A, of A Wᵀ (r, out), ||W_i||² (out,), A (r, in), B (out, r); r <= 32."""
    run("row_norms", crossed, squares, a, b, out, scale, a.shape[1], *b.shape)


@compiled("row_scale(Tensor magnitude, Tensor norms) -> Tensor", outputs=_like)
def row_scale(out: Tensor, magnitude: Tensor, norms: Tensor) -> None:
    """magnitude / norms (width,), 0 where the norm is 0."""
    run("row_scale", magnitude, norms, out, norms.numel())
