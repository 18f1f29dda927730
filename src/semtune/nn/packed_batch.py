"""Packed (varlen) batches: how one row of tokens divides into texts, and the index tensors that pad and unpad it.

Linear layers run on the packed row (tokens, hidden), without padding. Attention treats each text by itself: it pads
queries, keys and values into blocks (texts, heads, max_seqlen, head_dim) with the padding on the right. Attention is
causal, so no real query attends to a padded key, and nothing leaks from one text into another; the outputs of padded
queries are dropped when the block is unpadded.

Every length is a Python int, so that a step also runs on fake tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semtune.contracts import Cache

ROW_MULTIPLE = 32
"""Tokens of a forward are rounded up to a multiple of this."""


@dataclass
class PackedBatch:
    """The tokens of one forward: `lengths[i]` new tokens of text i, one text directly behind the other."""

    lengths: tuple[int, ...]
    cache: Cache | None = None
    padding: int = 0
    """Dummy tokens behind the last text, which attention ignores; see `padding_to_multiple`."""
    parts: tuple[PackedBatch, ...] = ()
    """The batches that this row concatenates; see `side_by_side`."""
    _layouts: dict[object, Layout] = field(default_factory=dict, init=False, repr=False)

    @property
    def cache_seqlens(self) -> list[int]:
        """Tokens of each text that are in the cache already."""
        if self.parts:
            return [n for part in self.parts for n in part.cache_seqlens]
        return list(self.cache.lengths) if self.cache is not None else [0] * len(self.lengths)

    @classmethod
    def side_by_side(cls, parts: Sequence[PackedBatch]) -> PackedBatch:
        """Several batches concatenated to one row. Attention runs for each part alone, with the part's own cache.

        So decoding requests (a few new tokens each) share the matrix products of requests in prefill.
        """
        if len(parts) == 1:
            return parts[0]
        return cls(tuple(n for part in parts for n in part.lengths), parts=tuple(parts))

    def split_query_indices(self, query_indices: tuple[int, ...] | None) -> list[tuple[int, ...] | None]:
        """The query indices of each part, counted from the part's first token; None (all tokens) stays None."""
        if query_indices is None:
            return [None] * len(self.parts)
        by_part: list[tuple[int, ...] | None] = []
        first = 0
        for part in self.parts:
            last = first + sum(part.lengths)
            by_part.append(tuple(index - first for index in query_indices if first <= index < last))
            first = last
        return by_part

    def advance(self) -> None:
        """Add these tokens to the caches' lengths; call once per forward, after every layer has stored them."""
        for part in self.parts:
            part.advance()
        if self.cache is not None:
            self.cache.advance(self.lengths)

    def position_ids(self, device: torch.device) -> Tensor:
        """Position of each token within its own text, (1, tokens + padding)."""
        flat = [s + j for s, n in zip(self.cache_seqlens, self.lengths, strict=True) for j in range(n)]
        return torch.tensor([flat + [0] * self.padding], device=device)

    def layout(self, device: torch.device, query_indices: tuple[int, ...] | None = None) -> Layout:
        """The index tensors of attention, computed once per forward. `query_indices`: see `Layout`."""
        if query_indices not in self._layouts:
            self._layouts[query_indices] = Layout(self.lengths, self.cache_seqlens, query_indices, device)
        return self._layouts[query_indices]


class Layout:
    """Index tensors that pad the packed rows of queries and new keys into blocks, and unpad them.

    Args:
        lengths: new tokens of each text.
        cache_seqlens: tokens of each text that came before them.
        query_indices: ascending indices into the row of the tokens that have a query; None: all tokens.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        cache_seqlens: Sequence[int],
        query_indices: tuple[int, ...] | None,
        device: torch.device,
    ) -> None:
        self.texts, self.cache_seqlens, self.lengths = len(lengths), tuple(cache_seqlens), tuple(lengths)
        self.max_seqlen = max(lengths)
        self.tokens = sum(lengths)
        by_text = _offsets_by_text(lengths, query_indices)
        self.query_counts = tuple(len(offsets) for offsets in by_text)
        self.max_seqlen_q = max(self.query_counts)
        self.num_queries = sum(self.query_counts)
        self.angles: dict[object, object] = {}
        """cos and sin of the rows' rotary angles, which attention computes once per forward (`padding`)."""
        self.derived: dict[object, object] = {}
        """What else attention computes once per forward from this layout (`prefixed`)."""
        self._device = device
        # A padded query repeats the text's last query, which keeps its values finite. A text without query indices gets
        # its first token as a dummy query.
        at = [[(p[min(j, len(p) - 1)] if p else 0) for j in range(self.max_seqlen_q)] for p in by_text]
        self._query_positions = [[s + j for j in row] for s, row in zip(cache_seqlens, at, strict=True)]
        self._key_positions = [[s + j for j in range(self.max_seqlen)] for s in cache_seqlens]
        self._rows: dict[object, Tensor] = {}
        self._bias: dict[object, Tensor] = {}
        self._ranges: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

    causal = True
    """Whether a query attends to exactly the keys at or before its position."""

    @property
    def cache_is_empty(self) -> bool:
        """Whether no text has cached tokens."""
        return max(self.cache_seqlens) == 0

    @property
    def device(self) -> torch.device:
        """The device of the index tensors."""
        return self._device

    def queries_by_text(self) -> list[list[int]]:
        """The position of every query within its text, text by text; [] for a text without queries."""
        return [row[:n] for row, n in zip(self._query_positions, self.query_counts, strict=True)]

    def query_positions(self) -> Tensor:
        """Position of each query within its text, (texts or 1, max_seqlen_q); one row where all texts agree."""
        return self._positions(self._query_positions)

    def key_positions(self) -> Tensor:
        """Position of each new key within its text, (texts or 1, max_seqlen); one row where all texts agree."""
        return self._positions(self._key_positions)

    def pad_index(self, heads: int, *, queries: bool) -> Tensor:
        """int64 (texts · heads · max_seqlen,): the packed row (of tokens · heads) of each row of the padded block.

        With `queries`, the packed rows are those of the query tokens alone.
        """
        counts, max_seqlen = self._side(queries)
        return self._index(("pad", heads, queries), counts, max_seqlen, heads)

    def unpad_index(self, heads: int, *, queries: bool) -> Tensor:
        """int64 (tokens · heads,): the row of the padded block of each packed row."""
        key = ("unpad", heads, queries)
        if key not in self._rows:
            counts, max_seqlen = self._side(queries)
            text = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], device=self._device)
            offset = torch.tensor([j for n in counts for j in range(n)], device=self._device)
            head = torch.arange(heads, device=self._device)
            self._rows[key] = ((text[:, None] * heads + head) * max_seqlen + offset[:, None]).reshape(-1)
        return self._rows[key]

    def padded(self, heads: int, *, queries: bool) -> Tensor | None:
        """int64: the rows of the padded block (texts · heads · max_seqlen) that are padding; None where none are."""
        counts, max_seqlen = self._side(queries)
        if min(counts) == max_seqlen:
            return None
        key = ("padded", heads, queries)
        if key not in self._rows:
            rows = [
                (i * heads + h) * max_seqlen + j
                for i, n in enumerate(counts)
                for h in range(heads)
                for j in range(n, max_seqlen)
            ]
            self._rows[key] = torch.tensor(rows, device=self._device)
        return self._rows[key]

    def row_ranges(self, *, queries: bool) -> tuple[Tensor, Tensor, Tensor]:
        """int32 tensors for the compiled kernels: offsets (texts,), counts (texts,), positions (texts, max_seqlen).

        Text i has the `counts[i]` packed rows from `offsets[i]` on, at these positions.
        """
        key = ("ranges", queries)
        if key not in self._ranges:
            counts, _ = self._side(queries)
            at = self._query_positions if queries else self._key_positions
            offsets = [0, *itertools.accumulate(counts)][:-1]
            self._ranges[key] = tuple(torch.tensor(x, dtype=torch.int32) for x in (offsets, counts, at))  # type: ignore[assignment]
        return self._ranges[key]

    def bias(self, seqlen_k: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Added to scores: 0 where a query attends to a key, else -inf; (texts or 1, 1, max_seqlen_q, seqlen_k)."""
        key = (seqlen_k, window, dtype)
        if key not in self._bias:
            at = self.query_positions()[:, None, :, None]
            key_at = torch.arange(seqlen_k, device=self._device).view(1, 1, 1, -1)
            masked = key_at > at if window is None else (key_at > at) | (key_at <= at - window)
            self._bias[key] = torch.zeros(masked.shape, dtype=dtype, device=self._device).masked_fill_(
                masked, -math.inf
            )
        return self._bias[key]

    def _positions(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows[:1] if all(row == rows[0] for row in rows) else rows, device=self._device)

    def _side(self, queries: bool) -> tuple[tuple[int, ...], int]:
        return (self.query_counts, self.max_seqlen_q) if queries else (self.lengths, self.max_seqlen)

    def _index(self, key: object, counts: tuple[int, ...], max_seqlen: int, heads: int) -> Tensor:
        if key not in self._rows:
            rows, offset = [], 0
            for n in counts:
                rows.append([offset + max(min(j, n - 1), 0) for j in range(max_seqlen)])
                offset += n
            token = torch.tensor(rows, device=self._device).clamp_(max=max(offset - 1, 0))  # (texts, max_seqlen)
            head = torch.arange(heads, device=self._device).view(1, -1, 1)
            self._rows[key] = (token[:, None, :] * heads + head).reshape(-1)
        return self._rows[key]


def padding_to_multiple(tokens: int) -> int:
    """Dummy tokens that pad a row of `tokens` to a multiple of `ROW_MULTIPLE`; 0 for shorter rows.

    On a CPU oneDNN compiles code for every new size of a matrix product and caches it with scratch memory. Without
    padding it would do so for hundreds of sizes. Rows below the multiple (decoding) have few sizes.
    """
    return -tokens % ROW_MULTIPLE if tokens > ROW_MULTIPLE else 0


def _offsets_by_text(lengths: Sequence[int], query_indices: tuple[int, ...] | None) -> list[list[int]]:
    """The query indices of each text, counted from its first new token."""
    if query_indices is None:
        return [list(range(n)) for n in lengths]
    offsets: list[list[int]] = [[] for _ in lengths]
    text, first = 0, 0
    for index in query_indices:
        while index >= first + lengths[text]:
            first += lengths[text]
            text += 1
        offsets[text].append(index - first)
    return offsets
