"""Operators that only training calls: low-rank adapters, and AdamW."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semtune.nn.kernels import run
from semtune.nn.operator_registry import OperatorCost, compiled, traffic_bytes

LANES = 16
"""Elements per vector: the loops need ranks and columns padded to a multiple of this."""


def padded_rank(rank: int) -> int:
    """The rank rounded up to whole lanes."""
    return -(-rank // LANES) * LANES


def _scratch_floats(a: Tensor, b: Tensor) -> int:
    """Number of scratch floats: A and B transposed, then each thread's (`buffers_of` in kernels/low_rank.c)."""
    (rank, inputs), outputs = a.shape, len(b)
    padded, block, whole_rows = padded_rank(rank), 48, -(-rank // 6) * 6
    per_thread = block * (inputs + outputs + padded) + 6 * max(inputs, outputs) + whole_rows * (inputs + outputs)
    per_thread += block * inputs // 2  # the mask, 16 bits an element
    return padded * (inputs + outputs) + torch.get_num_threads() * per_thread


def _scratch(a: Tensor, b: Tensor) -> Tensor:
    return torch.empty(_scratch_floats(a, b), dtype=torch.float32)


def _product_pairs(passes: int) -> Any:
    """The cost of `passes` times the two products x Aᵀ (tokens, r) and (x Aᵀ) Bᵀ (tokens, out)."""

    def cost(rows: Tensor, a: Tensor, b: Tensor, *others: Any, out: Any) -> OperatorCost:
        flops = passes * 2.0 * len(rows) * (a.numel() + b.numel())
        return OperatorCost(loop_flops=flops, workspace_bytes=4 * _scratch_floats(a, b))

    return cost


@compiled(
    "add_low_rank_(Tensor rows, Tensor a, Tensor b, Tensor(a!) y, float scale, int seed, int threshold) -> Tensor",
    # One row more than tokens, because the loop reads whole groups of columns.
    outputs=lambda rows, a, *others: rows.new_empty(len(rows) + 1, padded_rank(len(a)), dtype=torch.float32),
    cost=_product_pairs(1),
)
def add_low_rank_(
    out: Tensor, rows: Tensor, a: Tensor, b: Tensor, y: Tensor, scale: float, seed: int, threshold: int
) -> None:
    """y (tokens, out) += scale · B A drop(x) for rows x (tokens, in) and fp32 A (r, in), B (out, r).

    Returns fp32 (tokens + 1, padded r), which `low_rank_backward` needs. A threshold of 0 drops nothing.
    """
    sizes = (seed, threshold, *rows.shape, len(b), len(a), padded_rank(len(a)))
    run("low_rank", rows, a, b, y, out, _scratch(a, b), scale, *sizes)


@compiled(
    "low_rank_backward_(Tensor rows, Tensor a, Tensor b, Tensor grad_y, Tensor inner, Tensor(a!)? grad_x, "
    "float scale, int seed, int threshold, bool[2] output_mask) -> (Tensor, Tensor)",
    outputs=lambda rows, a, b, *others: tuple(
        torch.empty_like(x) if needed else None for x, needed in zip((a, b), others[-1], strict=True)
    ),
    cost=_product_pairs(2),
)
def low_rank_backward_(
    out: tuple[Tensor | None, ...], rows: Tensor, a: Tensor, b: Tensor, grad_y: Tensor, inner: Tensor,
    grad_x: Tensor | None, scale: float, seed: int, threshold: int, output_mask: list[bool],
) -> None:  # fmt: skip
    """The gradients of A and B, each if `output_mask` is set; `grad_x` += the adapter's part of x's gradient."""
    sizes = (seed, threshold, *rows.shape, len(b), len(a), padded_rank(len(a)))
    run("low_rank_backward", rows, a, b, grad_y, inner, grad_x, *out, _scratch(a, b), scale, *sizes)


_FACTORS = (
    "float learning_rate, float beta1, float beta2, float eps, float decay, float mean_factor, float square_factor, "
    "float clip"
)


@compiled(
    "adamw_(Tensor(a!) weight, Tensor(b!)? residual, Tensor(c!) mean, Tensor(d!) square, Tensor grad, "
    f"{_FACTORS}) -> ()"
)
def adamw_(
    out: None, weight: Tensor, residual: Tensor | None, mean: Tensor, square: Tensor, grad: Tensor, *factors: float
) -> None:
    """One AdamW update of a bf16 weight; `residual` int16, moments fp32, `grad` bf16 or fp32."""
    run("adamw", weight, residual, mean, square, *_by_dtype(grad), *factors, weight.numel())


UNPACKING_FACTOR = 20
"""Time per byte of the 8-bit update, over that of `nf4_dequantize_`."""


def _eight_bit_cost(*arguments: Any, out: Any) -> OperatorCost:
    return OperatorCost(unpacked_bytes=UNPACKING_FACTOR * traffic_bytes(arguments, out))


@compiled(
    "adamw_8bit_(Tensor(a!) weight, Tensor(b!)? residual, Tensor(c!) mean_codes, Tensor(d!) mean_scales, "
    "Tensor(e!) square_codes, Tensor(f!) square_scales, Tensor grad, Tensor mean_levels, Tensor mean_middles, "
    "Tensor mean_first, Tensor square_levels, Tensor square_middles, Tensor square_first, "
    f"{_FACTORS}) -> ()",
    cost=_eight_bit_cost,
)
def adamw_8bit_(out: None, weight: Tensor, *others: Any) -> None:
    """One AdamW update of a weight with both moments as uint8 codes (blocks, 256) and fp32 scales (blocks,)."""
    state, grad, tables_and_factors = others[:5], others[5], others[6:]
    run("adamw_8bit", weight, *state, *_by_dtype(grad), *tables_and_factors, weight.numel())


def _by_dtype(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The loop's arguments for a bf16 and for an fp32 gradient; the other one is None."""
    return (grad, None) if grad.dtype == torch.bfloat16 else (None, grad)


@compiled(
    "square_sum(Tensor x) -> Tensor",
    outputs=lambda x: x.new_zeros(torch.get_num_threads(), dtype=torch.float64),
)
def square_sum(out: Tensor, x: Tensor) -> None:
    """The sum of squares of each thread's part of x, fp64 (threads,)."""
    run("square_sum", x, out, x.numel())
