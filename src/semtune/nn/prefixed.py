"""Texts of a packed batch with a learned prefix in front of each, as longer texts of a packed batch.

Causal attention over a prefix and a text is plain causal attention over one text that begins with the prefix: every
query comes after the prefix and attends to all of it. So every code path for packed texts serves a prefix too. A prefix
is not rotated and shifts no positions: its rows have the angle 0, and the text's tokens keep the angles of their own
positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semtune.nn.packed_batch import Layout
from semtune.nn.padding import Rotary


class PrefixedTexts:
    """Index tensors that put a prefix of `length` rows in front of every text of a `Layout` without cached tokens."""

    def __init__(self, layout: Layout, length: int) -> None:
        self.length, self._texts, self._tokens = length, len(layout.lengths), layout.tokens
        device = layout.device
        self._lengths = [length + n for n in layout.lengths]
        source: list[int] = []
        prefix_rows: list[int] = []
        text_rows: list[int] = []
        query_indices: list[int] = []
        token = 0
        for n, positions in zip(layout.lengths, layout.queries_by_text(), strict=True):
            first = len(source) + length  # the row of the text's first token
            source += [*range(length), *range(length + token, length + token + n)]
            prefix_rows += range(first - length, first)
            text_rows += range(first, first + n)
            query_indices += [first + position for position in positions]
            token += n
        self._source = torch.tensor(source, device=device)
        self._prefix_rows = torch.tensor(prefix_rows, device=device)
        self._text_rows = torch.tensor(text_rows, device=device)
        self.layout = Layout(self._lengths, [0] * self._texts, tuple(query_indices), device)
        """Layout of the longer texts, with the same queries."""
        self._complete: Layout | None = None
        self._rotaries: dict[int, Rotary] = {}

    @property
    def complete_layout(self) -> Layout:
        """Layout of the longer texts in which the prefix's rows have queries too."""
        if self._complete is None:
            self._complete = Layout(self._lengths, [0] * self._texts, None, self.layout.device)
        return self._complete

    def rotary(self, rotary: Rotary | None) -> Rotary | None:
        """The angles by position in the longer texts: 0 for the prefix, then those of `rotary`."""
        if rotary is None:
            return None
        key = id(rotary.cos)
        if key not in self._rotaries:
            still = rotary.cos.new_zeros(self.length, rotary.cos.shape[1])
            cos, sin = torch.cat([still + 1, rotary.cos]), torch.cat([still, rotary.sin])
            self._rotaries[key] = Rotary(cos, sin)
        return self._rotaries[key]

    def prepend(self, prefix: Tensor, x: Tensor) -> Tensor:
        """(heads, length, head_dim) in front of each text of x (rows, heads, head_dim), in x's dtype.

        Returns:
            (texts · length + tokens, heads, head_dim), without the padding rows of x. The gradient of the prefix is
            summed over the texts in the prefix's own dtype.
        """
        return _prepend(prefix, x, self._source, self._prefix_rows, self._text_rows)

    def remove(self, x: Tensor, rows: int) -> Tensor:
        """The inverse of `prepend`: the texts' own rows of x, then zeros up to `rows`."""
        return F.pad(x.index_select(0, self._text_rows), (0, 0, 0, 0, 0, rows - self._tokens))


def prefixed_texts(layout: Layout, length: int) -> PrefixedTexts:
    """The texts of `layout` behind a prefix, computed once per forward."""
    key = ("prefixed", length)
    found = layout.derived.get(key)
    if not isinstance(found, PrefixedTexts):
        found = PrefixedTexts(layout, length)
        layout.derived[key] = found
    return found


class _Prepend(torch.autograd.Function):
    """`PrefixedTexts.prepend`: every row of the result is a row of the prefix or of x."""

    @staticmethod
    def forward(ctx: Any, prefix: Tensor, x: Tensor, source: Tensor, prefix_rows: Tensor, text_rows: Tensor) -> Tensor:
        ctx.save_for_backward(prefix_rows, text_rows)
        ctx.length, ctx.rows, ctx.prefix_dtype = prefix.shape[1], len(x), prefix.dtype
        both = torch.cat([prefix.transpose(0, 1).to(x.dtype), x])  # (length + rows, heads, head_dim)
        return both.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        prefix_rows, text_rows = ctx.saved_tensors
        grad_prefix = grad_x = None
        if ctx.needs_input_grad[0]:
            by_text = grad.index_select(0, prefix_rows).view(-1, ctx.length, *grad.shape[1:])
            grad_prefix = by_text.sum(dim=0, dtype=ctx.prefix_dtype).transpose(0, 1)
        if ctx.needs_input_grad[1]:
            grad_x = grad.new_empty(ctx.rows, *grad.shape[1:])
            torch.index_select(grad, 0, text_rows, out=grad_x[: len(text_rows)])
            grad_x[len(text_rows) :].zero_()
        return grad_prefix, grad_x, None, None, None


_prepend: Callable[..., Tensor] = _Prepend.apply
