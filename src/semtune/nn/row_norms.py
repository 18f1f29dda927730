"""The row norms of a matrix with a low-rank update, n_i = ||(W + s B A)_i||, and what DoRA divides by them.

    n_i² = ||W_i||² + 2 s (W Aᵀ)_i · B_i + s² B_i (A Aᵀ) B_iᵀ

The updated matrix is never formed, and ||W_i||² is computed once. In fp32 on a CPU each is one compiled operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semtune.nn.kernels import operators, supports
from semtune.nn.operator_registry import composite

_ROW_CHUNK = 1 << 16
"""Weights that are upcast to fp32 at once for row norms; with 1 << 20 freed blocks left 340 MB of holes in the heap."""
_MAX_COMPILED_RANK = 32
"""LARGEST_RANK of kernels/rows.c."""


def updated_row_norms(base_row_square: Tensor, crossed: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """||W_i + s B_i A|| (out,), of ||W_i||² (out,), A Wᵀ (r, out), A (r, in) and B (out, r)."""
    if supports(crossed) and supports(base_row_square, a, b) and _is_fp32(b) and len(a) <= _MAX_COMPILED_RANK:
        norms: Tensor = operators.row_norms(crossed, base_row_square, a, b, scale)
        return norms
    cross = (crossed.t().to(b.dtype) * b).sum(dim=1)
    update_square = ((b @ (a @ a.t())) * b).sum(dim=1)  # (out, r) x (r, r) -> (out, r) -> (out,)
    return (base_row_square + 2 * scale * cross + scale * scale * update_square).clamp(min=0).sqrt()


def row_scale(magnitude: Tensor, norms: Tensor) -> Tensor:
    """m / n (out,); 0 where a row of the weight is all zero and so has no direction."""
    if supports(magnitude, norms) and _is_fp32(norms):
        scale: Tensor = operators.row_scale(magnitude.detach(), norms)
        return scale
    return torch.where(norms > 0, magnitude.detach() / norms, 0.0)


@composite(
    "row_square_sums(Tensor weight, ScalarType dtype) -> Tensor",
    outputs=lambda weight, dtype: weight.new_empty(len(weight), dtype=dtype),
)
def row_square_sums(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """||W_i||² (out,) in `dtype`; some rows of W (out, in) are upcast at a time."""
    rows, columns = weight.shape
    step = max(1, _ROW_CHUNK // columns)
    return torch.cat([weight[i : i + step].to(dtype).square().sum(dim=1) for i in range(0, rows, step)])


def _is_fp32(x: Tensor) -> bool:
    return x.dtype == torch.float32
