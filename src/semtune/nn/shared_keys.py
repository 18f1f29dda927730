"""Attention's two products where texts share keys: each shared key is stored once and multiplied once for all texts.

The queries of all texts behind a stem (a shared beginning) form one matrix for the stem's keys, and stay apart for the
texts' own keys; one softmax runs over both. (Hydragen, Juravsky et al. 2024, arXiv:2402.05099.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semtune.nn import panels

Shared = Sequence[tuple[Tensor, Tensor]]
"""Keys and values that every query attends to, each (kv_heads, n, head_dim); they stand before a text's own ones."""


def scores(q: Tensor, k: Tensor, shared: Shared) -> Tensor:
    """q kᵀ over the shared keys, then the text's own.

    Args:
        q: (texts · kv_heads, rows, head_dim), the rows of the query heads of one kv head.
        k: (texts, kv_heads, seqlen_k, head_dim).

    Returns:
        (texts · kv_heads, rows, n + seqlen_k), contiguous.
    """
    own = panels.bmm(q, k.flatten(0, 1).transpose(1, 2))
    if not shared:
        return own
    texts, kv_heads = k.shape[:2]
    together = _by_head(q, texts, kv_heads)  # (kv_heads, texts · rows, head_dim)
    parts = [_by_text(panels.bmm(together, keys.transpose(1, 2)), texts) for keys, _ in shared]
    return torch.cat([*parts, own.view(texts, kv_heads, *own.shape[1:])], dim=-1).flatten(0, 1)


def weighted_values(weights: Tensor, v: Tensor, shared: Shared) -> Tensor:
    """weights v over the shared values, then the text's own.

    Args:
        weights: (texts · kv_heads, rows, n + seqlen_k).
        v: (texts, kv_heads, seqlen_k, head_dim).

    Returns:
        (texts · kv_heads, rows, head_dim).
    """
    texts, kv_heads, seqlen_k, _ = v.shape
    first = weights.shape[2] - seqlen_k
    out = panels.bmm(weights[:, :, first:], v.flatten(0, 1))
    for _, values in reversed(shared):
        first, last = first - values.shape[1], first
        together = _by_head(weights[:, :, first:last], texts, kv_heads)
        out = out + _by_text(panels.bmm(together, values), texts).reshape(out.shape)
    return out


def _by_head(x: Tensor, texts: int, kv_heads: int) -> Tensor:
    """(texts · kv_heads, rows, n) -> (kv_heads, texts · rows, n)."""
    return x.view(texts, kv_heads, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def _by_text(x: Tensor, texts: int) -> Tensor:
    """(kv_heads, texts · rows, n) -> (texts, kv_heads, rows, n), a view."""
    return x.view(len(x), texts, -1, x.shape[2]).transpose(0, 1)
