"""Texts laid end to end: how a row of tokens divides into texts, and where each token stands when texts are put apart.

The linear layers of a model see only real tokens, (tokens, hidden). Attention needs texts apart, so inside attention
alone queries, keys and values are put into right-padded blocks of (texts, heads, max_seqlen, head_dim). Because attention
is causal and padding stands on the right, no real query ever sees a padded key: nothing can leak from one text into
another, and what a padded query computes is dropped on the way back.

Every length is a Python int, so that a step also runs on fake tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semtune.nn.key_value_cache import KeyValueCache

ROW_MULTIPLE = 32
"""Tokens of a forward are rounded up to a multiple of this."""


@dataclass
class PackedBatch:
    """How the tokens of one forward divide into texts: `lengths[i]` new tokens of text i, laid end to end."""

    lengths: tuple[int, ...]
    cache: KeyValueCache | None = None
    padding: int = 0
    """Dummy tokens after the last text. They take part in no attention; see `padding_to_multiple`."""
    parts: tuple[PackedBatch, ...] = ()
    """What stands side by side in this row; see `side_by_side`."""
    _layouts: dict[object, Layout] = field(default_factory=dict, init=False, repr=False)

    @property
    def cache_seqlens(self) -> list[int]:
        """Tokens of each text that are in the cache already."""
        if self.parts:
            return [start for part in self.parts for start in part.cache_seqlens]
        return list(self.cache.lengths) if self.cache is not None else [0] * len(self.lengths)

    @classmethod
    def side_by_side(cls, parts: Sequence[PackedBatch]) -> PackedBatch:
        """One row of several. Attention takes them one by one: each is padded for itself and has its own cache.

        So texts that go on by a few tokens can share the matrix products of texts that begin.
        """
        if len(parts) == 1:
            return parts[0]
        return cls(tuple(n for part in parts for n in part.lengths), parts=tuple(parts))

    def split(self, queries: tuple[int, ...] | None) -> list[tuple[int, ...] | None]:
        """Of each part, which of its own tokens ask."""
        if queries is None:
            return [None] * len(self.parts)
        asking: list[tuple[int, ...] | None] = []
        first = 0
        for part in self.parts:
            last = first + sum(part.lengths)
            asking.append(tuple(place - first for place in queries if first <= place < last))
            first = last
        return asking

    def advance(self) -> None:
        """Note that every layer has cached these tokens; once a forward."""
        for part in self.parts:
            part.advance()
        if self.cache is not None:
            self.cache.advance(self.lengths)

    def position_ids(self, device: torch.device) -> Tensor:
        """Position of each token within its own text, (1, tokens + padding)."""
        flat = [s + j for s, n in zip(self.cache_seqlens, self.lengths, strict=True) for j in range(n)]
        return torch.tensor([flat + [0] * self.padding], device=device)

    def layout(self, device: torch.device, queries: tuple[int, ...] | None = None) -> Layout:
        """Where the tokens stand in blocks, made once a forward. `queries`: see `Layout`."""
        if queries not in self._layouts:
            self._layouts[queries] = Layout(self.lengths, self.cache_seqlens, queries, device)
        return self._layouts[queries]


class Layout:
    """Places in right-padded blocks of queries and of new keys.

    Args:
        lengths: new tokens of each text.
        cache_seqlens: tokens of each text that came before them.
        queries: places in the row of the tokens that ask, ascending; None: all of them.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        cache_seqlens: Sequence[int],
        queries: tuple[int, ...] | None,
        device: torch.device,
    ) -> None:
        self.texts, self.cache_seqlens, self.lengths = len(lengths), tuple(cache_seqlens), tuple(lengths)
        self.max_seqlen = max(lengths)
        self.tokens = sum(lengths)
        own = _places_by_text(lengths, queries)  # of each text, which of its new tokens ask
        self.query_counts = tuple(len(places) for places in own)
        self.max_seqlen_q = max(self.query_counts)
        self.asking = sum(self.query_counts)
        self.turns: dict[object, object] = {}
        """Rotary angles of these places, as `attention` works them out, once a forward."""
        self._device = device
        # A padded place stands in for the text's last one (a text that asks nothing: for its first token): a finite
        # value that no real query sees.
        at = [[(p[min(j, len(p) - 1)] if p else 0) for j in range(self.max_seqlen_q)] for p in own]
        self._query_positions = [[s + j for j in row] for s, row in zip(cache_seqlens, at, strict=True)]
        self._key_positions = [[s + j for j in range(self.max_seqlen)] for s in cache_seqlens]
        self._rows: dict[object, Tensor] = {}
        self._bias: dict[object, Tensor] = {}
        self._places: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

    causal = True
    """Whether a query sees exactly the keys at or before its position."""

    @property
    def cache_is_empty(self) -> bool:
        """Whether no text has tokens before these."""
        return max(self.cache_seqlens) == 0

    def query_positions(self) -> Tensor:
        """Position of each query within its text, (texts or 1, max_seqlen_q); one row where all texts agree."""
        return self._positions(self._query_positions)

    def key_positions(self) -> Tensor:
        """Position of each new key within its text, (texts or 1, max_seqlen); one row where all texts agree."""
        return self._positions(self._key_positions)

    def pad_index(self, heads: int, *, queries: bool) -> Tensor:
        """Index that picks rows (tokens · heads) into block order (texts, heads, max_seqlen): (texts · heads · max_seqlen,).

        The rows of `queries` are the asking tokens alone, one after the other.
        """
        counts, max_seqlen = self._side(queries)
        return self._index(("into", heads, queries), counts, max_seqlen, heads)

    def unpad_index(self, heads: int, *, queries: bool) -> Tensor:
        """Index that picks block order back into rows: (tokens · heads,)."""
        key = ("from", heads, queries)
        if key not in self._rows:
            counts, max_seqlen = self._side(queries)
            text = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], device=self._device)
            place = torch.tensor([j for n in counts for j in range(n)], device=self._device)
            head = torch.arange(heads, device=self._device)
            self._rows[key] = ((text[:, None] * heads + head) * max_seqlen + place[:, None]).reshape(-1)
        return self._rows[key]

    def padded(self, heads: int, *, queries: bool) -> Tensor | None:
        """Rows of a block (texts · heads · max_seqlen) that are padding; None where there are none."""
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

    def places(self, *, queries: bool) -> tuple[Tensor, Tensor, Tensor]:
        """What the compiled kernels read, int32: each text's first row, its rows (both (texts,)), and positions.

        Positions are (texts, max_seqlen). Rows are counted as in `pad_index`.
        """
        key = ("places", queries)
        if key not in self._places:
            counts, _ = self._side(queries)
            at = self._query_positions if queries else self._key_positions
            offsets = [0, *itertools.accumulate(counts)][:-1]
            self._places[key] = tuple(torch.tensor(x, dtype=torch.int32) for x in (offsets, counts, at))  # type: ignore[assignment]
        return self._places[key]

    def bias(self, seqlen_k: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Added to scores: 0 where a query sees a key, -inf elsewhere; (texts or 1, 1, max_seqlen_q, seqlen_k)."""
        key = (seqlen_k, window, dtype)
        if key not in self._bias:
            at = self.query_positions()[:, None, :, None]
            place = torch.arange(seqlen_k, device=self._device).view(1, 1, 1, -1)
            hidden = place > at if window is None else (place > at) | (place <= at - window)
            self._bias[key] = torch.zeros(hidden.shape, dtype=dtype, device=self._device).masked_fill_(
                hidden, -math.inf
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
    """How many dummy tokens bring a row of `tokens` to a size that comes again.

    On CPU every new size of a matrix product is compiled by oneDNN, and the compiled form is kept with its scratch
    memory; rows of any length would compile hundreds of them. Short rows (decoding) stay as they are: their sizes are
    few.
    """
    return -tokens % ROW_MULTIPLE if tokens > ROW_MULTIPLE else 0


def _places_by_text(lengths: Sequence[int], queries: tuple[int, ...] | None) -> list[list[int]]:
    """Of each text, the indices among its new tokens that ask."""
    if queries is None:
        return [list(range(n)) for n in lengths]
    places: list[list[int]] = [[] for _ in lengths]
    text, start = 0, 0
    for place in queries:
        while place >= start + lengths[text]:
            start += lengths[text]
            text += 1
        places[text].append(place - start)
    return places
