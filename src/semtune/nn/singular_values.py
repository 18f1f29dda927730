"""The largest singular triples of a matrix, exact or by the randomised SVD of Halko, Martinsson & Tropp 2011.

An operator with a declared cost, because its many small operations would make plans slow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semtune.nn.operator_registry import OperatorCost, composite, tensor_bytes, traffic_bytes

_OVERSAMPLING = 10
"""Columns beyond the rank that the randomised SVD computes (Halko et al. advise 5 to 10)."""


def _outputs(matrix: Tensor, rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    (rows, columns), count = matrix.shape, min(rank, *matrix.shape)
    return matrix.new_empty(rows, count), matrix.new_empty(count), matrix.new_empty(count, columns)


def _cost(matrix: Tensor, rank: int, iterations: int, *, out: Any) -> OperatorCost:
    """The matrix is read twice an iteration; the exact SVD has two matrices of its size beside it."""
    return OperatorCost(
        moved_bytes=(2 * iterations + 2) * traffic_bytes((matrix,), out), workspace_bytes=2 * tensor_bytes(matrix)
    )


@composite(
    "principal_triples(Tensor matrix, int rank, int iterations) -> (Tensor, Tensor, Tensor)",
    outputs=_outputs,
    cost=_cost,
)
def principal_triples(matrix: Tensor, rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (rows, rank), S (rank,) descending and V^T (rank, columns) of `matrix`; fewer than `rank` of a smaller one.

    Args:
        matrix: (rows, columns), fp32 or fp64.
        iterations: power iterations of the randomised SVD (algorithm 4.4); 0: the exact SVD.
    """
    if iterations == 0:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    else:
        basis = _range_basis(matrix, min(rank + _OVERSAMPLING, *matrix.shape), iterations)
        small, s, vh = torch.linalg.svd(basis.t() @ matrix, full_matrices=False)  # (q, rows) x (rows, columns)
        u = basis @ small
    u, s, vh = (part.clone(memory_format=torch.contiguous_format) for part in (u[:, :rank], s[:rank], vh[:rank]))
    return u, s, vh


def _range_basis(matrix: Tensor, columns: int, iterations: int) -> Tensor:
    """Orthonormal (rows, columns) that nearly span the principal left singular vectors of `matrix` (rows, its columns).

    The random columns are drawn on the CPU from a seed of their own: equal on every device, in any order of layers.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(matrix.shape[1], columns, generator=generator, dtype=matrix.dtype).to(matrix.device)
    basis: Tensor = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(iterations):
        basis = torch.linalg.qr(matrix.t() @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    return basis
