"""Operators around attention over packed texts: padding, softmax, and the whole attention over short texts.

q, k, v and blocks are bf16 or fp32. `offsets`, `counts` and `positions` are those of `Layout.row_ranges`: the first row
and the number of rows of each text, int32 (texts,), and each row's position in its text, int32 (texts, max_seqlen).
`cos` and `sin` are fp32 (positions, head_dim / 2), or None where nothing is rotated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semtune.nn.kernels import run
from semtune.nn.operator_registry import OperatorCost, compiled, traffic_bytes


@compiled(
    "pad(Tensor x, Tensor offsets, Tensor counts, Tensor positions, Tensor? cos, Tensor? sin, int max_seqlen) "
    "-> Tensor",
    outputs=lambda x, offsets, counts, positions, cos, sin, max_seqlen: x.new_empty(
        len(counts), x.shape[1], max_seqlen, x.shape[2]
    ),
)
def pad(
    out: Tensor, x: Tensor, offsets: Tensor, counts: Tensor, positions: Tensor,
    cos: Tensor | None, sin: Tensor | None, max_seqlen: int,
) -> None:  # fmt: skip
    """(rows, heads, head_dim) -> (texts, heads, max_seqlen, head_dim), rotated; zero where padded."""
    run("pad", x, out, offsets, counts, positions, cos, sin, len(counts), x.shape[1], max_seqlen, x.shape[2])


@compiled(
    "unpad(Tensor x, Tensor offsets, Tensor counts, Tensor positions, Tensor? cos, Tensor? sin, int heads, "
    "int max_seqlen, int filled, int rows) -> Tensor",
    outputs=lambda x, offsets, counts, positions, cos, sin, heads, max_seqlen, filled, rows: x.new_empty(
        rows, heads, x.shape[-1]
    ),
)
def unpad(
    out: Tensor, x: Tensor, offsets: Tensor, counts: Tensor, positions: Tensor,
    cos: Tensor | None, sin: Tensor | None, heads: int, max_seqlen: int, filled: int, rows: int,
) -> None:  # fmt: skip
    """The inverse of `pad`, rotated back: (rows, heads, head_dim); rows from `filled` on are 0."""
    sizes = (len(counts), heads, max_seqlen, x.shape[-1], filled, rows)
    run("unpad", x, out, offsets, counts, positions, cos, sin, *sizes)


@compiled(
    "causal_softmax_(Tensor(a!) scores, Tensor counts, Tensor positions, float scale, int heads, "
    "int max_seqlen_q) -> ()"
)
def causal_softmax_(
    out: None, scores: Tensor, counts: Tensor, positions: Tensor, scale: float, heads: int, max_seqlen_q: int
) -> None:
    """Scores (texts · kv_heads, group · max_seqlen_q, max_seqlen) to weights over keys up to each query's position."""
    run("causal_softmax", scores, counts, positions, scale, len(counts), heads, max_seqlen_q, scores.shape[-1])


_POSITIONS = (
    "Tensor query_offsets, Tensor query_counts, Tensor query_positions, Tensor key_offsets, Tensor key_counts, "
    "Tensor? cos, Tensor? sin, float scale, int max_seqlen_q, int max_seqlen"
)


def _scratch_floats(q: Tensor, k: Tensor, max_seqlen_q: int, max_seqlen: int) -> int:
    """Maximum of scratch floats for one text and kv head; kernels/short_attention.c divides them (`block_of`)."""
    rows, width = _round_up(max_seqlen_q * q.shape[1] // k.shape[1], 6), _round_up(q.shape[2], 16)
    keys = _round_up(_round_up(max_seqlen, 6), 16)
    return 2 * rows * width + 4 * keys * width + 2 * rows * keys + 6 * width


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _run_attention(name: str, q: Tensor, k: Tensor, tensors: tuple[Any, ...], positions: tuple[Any, ...]) -> None:
    *indices, scale, max_seqlen_q, max_seqlen = positions
    floats = _scratch_floats(q, k, max_seqlen_q, max_seqlen)
    scratch = torch.empty(torch.get_num_threads() * floats, dtype=torch.float32)
    sizes = (floats, len(indices[1]), q.shape[1], k.shape[1], max_seqlen_q, q.shape[2], len(q), len(k))
    run(name, *tensors, *indices, scratch, scale, *sizes)


def _attention_cost(q: Tensor, k: Tensor, *others: Any, out: Any) -> OperatorCost:
    workspace = 4 * torch.get_num_threads() * _scratch_floats(q, k, *others[-2:])
    return OperatorCost(moved_bytes=traffic_bytes((q, k, *others), out), workspace_bytes=workspace)


@compiled(
    f"short_attention(Tensor q, Tensor k, Tensor v, {_POSITIONS}) -> Tensor",
    outputs=lambda q, *others: torch.empty_like(q),
    cost=_attention_cost,
)
def short_attention(out: Tensor, q: Tensor, k: Tensor, v: Tensor, *positions: Any) -> None:
    """softmax(scale q kᵀ) v of every text by itself, q and k rotated: (rows of q, heads, head_dim)."""
    _run_attention("attention", q, k, (q, k, v, out), positions)


@compiled(
    f"short_attention_backward(Tensor q, Tensor k, Tensor v, Tensor grad_out, bool[3] output_mask, {_POSITIONS}) "
    "-> (Tensor, Tensor, Tensor)",
    outputs=lambda q, k, v, grad_out, output_mask, *positions: tuple(
        torch.empty_like(x) if needed else None for x, needed in zip((q, k, v), output_mask, strict=True)
    ),
    cost=_attention_cost,
)
def short_attention_backward(
    out: tuple[Tensor | None, ...], q: Tensor, k: Tensor, v: Tensor, grad_out: Tensor, output_mask: list[bool],
    *positions: Any,
) -> None:  # fmt: skip
    """The gradients of q, k and v, each if `output_mask` is set for it."""
    _run_attention("attention_backward", q, k, (q, k, v, grad_out, *out), positions)
