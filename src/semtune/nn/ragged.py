"""Texts laid end to end: how a row of tokens divides into texts, and where each token stands when texts are put apart.

The linear layers of a model see only real tokens, (tokens, hidden). Attention needs texts apart, so inside attention
alone queries, keys and values are put into right-padded blocks of (texts, heads, longest, head_dim). Because attention
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
class Ragged:
    """How the tokens of one forward divide into texts: `lengths[i]` new tokens of text i, laid end to end."""

    lengths: tuple[int, ...]
    cache: KeyValueCache | None = None
    filler: int = 0
    """Dummy tokens after the last text. They take part in no attention; see `filler_for`."""
    parts: tuple[Ragged, ...] = ()
    """What stands side by side in this row; see `side_by_side`."""
    _layouts: dict[object, Layout] = field(default_factory=dict, init=False, repr=False)

    @property
    def starts(self) -> list[int]:
        """Tokens of each text that are in the cache already."""
        if self.parts:
            return [start for part in self.parts for start in part.starts]
        return list(self.cache.lengths) if self.cache is not None else [0] * len(self.lengths)

    @classmethod
    def side_by_side(cls, parts: Sequence[Ragged]) -> Ragged:
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
        """Position of each token within its own text, (1, tokens + filler)."""
        flat = [s + j for s, n in zip(self.starts, self.lengths, strict=True) for j in range(n)]
        return torch.tensor([flat + [0] * self.filler], device=device)

    def layout(self, device: torch.device, queries: tuple[int, ...] | None = None) -> Layout:
        """Where the tokens stand in blocks, made once a forward. `queries`: see `Layout`."""
        if queries not in self._layouts:
            self._layouts[queries] = Layout(self.lengths, self.starts, queries, device)
        return self._layouts[queries]


class Layout:
    """Places in right-padded blocks of queries and of new keys.

    Args:
        lengths: new tokens of each text.
        starts: tokens of each text that came before them.
        queries: places in the row of the tokens that ask, ascending; None: all of them.
    """

    def __init__(
        self, lengths: Sequence[int], starts: Sequence[int], queries: tuple[int, ...] | None, device: torch.device
    ) -> None:
        self.texts, self.starts, self.lengths = len(lengths), tuple(starts), tuple(lengths)
        self.longest = max(lengths)
        self.tokens = sum(lengths)
        own = _places_by_text(lengths, queries)  # of each text, which of its new tokens ask
        self.query_counts = tuple(len(places) for places in own)
        self.longest_query = max(self.query_counts)
        self.asking = sum(self.query_counts)
        self.turns: dict[object, object] = {}
        """Rotary angles of these places, as `attention` works them out, once a forward."""
        self._device = device
        # A padded place stands in for the text's last one (a text that asks nothing: for its first token): a finite
        # value that no real query sees.
        at = [[(p[min(j, len(p) - 1)] if p else 0) for j in range(self.longest_query)] for p in own]
        self._query_positions = [[s + j for j in row] for s, row in zip(starts, at, strict=True)]
        self._key_positions = [[s + j for j in range(self.longest)] for s in starts]
        self._rows: dict[object, Tensor] = {}
        self._bias: dict[object, Tensor] = {}
        self._places: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

    causal = True
    """Whether a query sees exactly the keys at or before its position."""

    @property
    def fresh(self) -> bool:
        """Whether no text has tokens before these."""
        return max(self.starts) == 0

    def query_positions(self) -> Tensor:
        """Position of each query within its text, (texts or 1, longest_query); one row where all texts agree."""
        return self._positions(self._query_positions)

    def key_positions(self) -> Tensor:
        """Position of each new key within its text, (texts or 1, longest); one row where all texts agree."""
        return self._positions(self._key_positions)

    def into_block(self, heads: int, *, queries: bool) -> Tensor:
        """Index that picks rows (tokens · heads) into block order (texts, heads, longest): (texts · heads · longest,).

        The rows of `queries` are the asking tokens alone, one after the other.
        """
        counts, longest = self._side(queries)
        return self._index(("into", heads, queries), counts, longest, heads)

    def from_block(self, heads: int, *, queries: bool) -> Tensor:
        """Index that picks block order back into rows: (tokens · heads,)."""
        key = ("from", heads, queries)
        if key not in self._rows:
            counts, longest = self._side(queries)
            text = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], device=self._device)
            place = torch.tensor([j for n in counts for j in range(n)], device=self._device)
            head = torch.arange(heads, device=self._device)
            self._rows[key] = ((text[:, None] * heads + head) * longest + place[:, None]).reshape(-1)
        return self._rows[key]

    def padded(self, heads: int, *, queries: bool) -> Tensor | None:
        """Rows of a block (texts · heads · longest) that are padding; None where there are none."""
        counts, longest = self._side(queries)
        if min(counts) == longest:
            return None
        key = ("padded", heads, queries)
        if key not in self._rows:
            rows = [
                (i * heads + h) * longest + j
                for i, n in enumerate(counts)
                for h in range(heads)
                for j in range(n, longest)
            ]
            self._rows[key] = torch.tensor(rows, device=self._device)
        return self._rows[key]

    def places(self, *, queries: bool) -> tuple[Tensor, Tensor, Tensor]:
        """What the compiled kernels read, int32: each text's first row, its rows (both (texts,)), and positions.

        Positions are (texts, longest). Rows are counted as in `into_block`.
        """
        key = ("places", queries)
        if key not in self._places:
            counts, _ = self._side(queries)
            at = self._query_positions if queries else self._key_positions
            starts = [0, *itertools.accumulate(counts)][:-1]
            self._places[key] = tuple(torch.tensor(x, dtype=torch.int32) for x in (starts, counts, at))  # type: ignore[assignment]
        return self._places[key]

    def bias(self, reach: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Added to scores: 0 where a query sees a key, -inf elsewhere; (texts or 1, 1, longest_query, reach)."""
        key = (reach, window, dtype)
        if key not in self._bias:
            at = self.query_positions()[:, None, :, None]
            place = torch.arange(reach, device=self._device).view(1, 1, 1, -1)
            hidden = place > at if window is None else (place > at) | (place <= at - window)
            self._bias[key] = torch.zeros(hidden.shape, dtype=dtype, device=self._device).masked_fill_(
                hidden, -math.inf
            )
        return self._bias[key]

    def _positions(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows[:1] if all(row == rows[0] for row in rows) else rows, device=self._device)

    def _side(self, queries: bool) -> tuple[tuple[int, ...], int]:
        return (self.query_counts, self.longest_query) if queries else (self.lengths, self.longest)

    def _index(self, key: object, counts: tuple[int, ...], longest: int, heads: int) -> Tensor:
        if key not in self._rows:
            rows, offset = [], 0
            for n in counts:
                rows.append([offset + max(min(j, n - 1), 0) for j in range(longest)])
                offset += n
            token = torch.tensor(rows, device=self._device).clamp_(max=max(offset - 1, 0))  # (texts, longest)
            head = torch.arange(heads, device=self._device).view(1, -1, 1)
            self._rows[key] = (token[:, None, :] * heads + head).reshape(-1)
        return self._rows[key]


def filler_for(tokens: int) -> int:
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
