"""The key-value cache for decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GROWTH = 32
"""Extra tokens of capacity whenever the arrays grow."""


@dataclass(frozen=True, slots=True)
class KeyValueSegment:
    """Keys and values of consecutive tokens of one text; implements `contracts.CacheSegment`."""

    keys: Mapping[int, Tensor]
    """By layer: (kv_heads, tokens, head_dim), rotated."""
    values: Mapping[int, Tensor]
    tokens: int

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(x.nbytes for x in (*self.keys.values(), *self.values.values()))

    def split(self, at: int) -> tuple[KeyValueSegment, KeyValueSegment]:
        """Its first `at` tokens and the others, copied, so that neither part keeps the memory of the other."""
        return self._part(0, at), self._part(at, self.tokens)

    def _part(self, first: int, last: int) -> KeyValueSegment:
        keys, values = ({layer: x[:, first:last].clone() for layer, x in xs.items()} for xs in (self.keys, self.values))
        return KeyValueSegment(keys, values, last - first)


class KeyValueCache:
    """Keys and values of `texts` texts, layer by layer, right-padded.

    Arrays are (texts, kv_heads, capacity, head_dim) and grow as needed; `lengths` counts the tokens of each text. The
    methods are those of `contracts.Cache`. Texts may begin with the same tokens, the stem (`begin`), whose keys and
    values exist once and outside the arrays.
    """

    rewindable = True

    def __init__(self, texts: int) -> None:
        self.lengths = [0] * texts
        self.stem: tuple[KeyValueSegment, ...] = ()
        """The tokens that every text begins with."""
        self._stem_length = 0
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._rows: dict[object, tuple[Tensor, Tensor]] = {}
        """Source and target rows of the tokens of this forward; the same for every layer."""

    def extend(self, layer: int, keys: Tensor, values: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Append `counts[i]` new tokens to text i, given right-padded (texts, kv_heads, max(counts), head_dim).

        Returns all keys and values of this layer behind the stem, (texts, kv_heads, max(lengths + counts) - stem,
        head_dim).
        """
        needed = max(a + b for a, b in zip(self.lengths, counts, strict=True)) - self._stem_length
        if layer not in self._keys:
            if max(self.lengths) != self._stem_length:
                raise RuntimeError(f"layer {layer} was not cached from the first token on")
            self._keys[layer], self._values[layer] = (
                keys,
                values,
            )  # not copied, because many texts need no second forward
            return keys, values
        if self._keys[layer].shape[2] < needed:
            more = (0, 0, 0, needed + GROWTH - self._keys[layer].shape[2])
            self._keys[layer], self._values[layer] = F.pad(self._keys[layer], more), F.pad(self._values[layer], more)
        source, target = self._source_and_target(
            keys.shape[1], keys.shape[2], self._keys[layer].shape[2], counts, keys.device
        )
        for cached, new in ((self._keys[layer], keys), (self._values[layer], values)):
            rows = new.reshape(-1, new.shape[-1])  # (texts · kv_heads · max(counts), head_dim)
            picked = (
                rows if len(source) == len(rows) else rows.index_select(0, source)
            )  # without padding they are in order
            cached.view(-1, cached.shape[-1]).index_copy_(0, target, picked)
        return self._keys[layer][:, :, :needed], self._values[layer][:, :, :needed]

    def begin(self, stem: Sequence[KeyValueSegment], rows: Sequence[Sequence[KeyValueSegment]]) -> None:
        """Give this cache the texts `stem + rows[i]`: the stem is shared, the segments of a row are copied."""
        self.stem, self._stem_length = tuple(stem), sum(segment.tokens for segment in stem)
        own = [sum(segment.tokens for segment in row) for row in rows]
        self.lengths = [self._stem_length + n for n in own]
        self._rows.clear()
        self._keys, self._values = {}, {}
        example = next((segment for row in rows for segment in row), None)
        if example is None:
            return
        for mine, name in ((self._keys, "keys"), (self._values, "values")):
            for layer, like in getattr(example, name).items():
                heads, _, dim = like.shape
                mine[layer] = like.new_zeros(len(rows), heads, max(own) + GROWTH, dim)
                for target, row in zip(mine[layer], rows, strict=True):
                    first = 0
                    for segment in row:
                        target[:, first : first + segment.tokens].copy_(getattr(segment, name)[layer])
                        first += segment.tokens

    def cut(self, row: int, first: int, last: int) -> KeyValueSegment:
        """A copy of the tokens `first` to `last` (exclusive) of one text, behind the stem."""
        if not self._stem_length <= first < last <= self.lengths[row]:
            raise ValueError(f"tokens {first} to {last} of a text of {self.lengths[row]} cannot be cut out")
        part = slice(first - self._stem_length, last - self._stem_length)
        keys, values = (
            {layer: x[row, :, part].clone() for layer, x in xs.items()} for xs in (self._keys, self._values)
        )
        return KeyValueSegment(keys, values, last - first)

    def shared(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the stem in one layer, each (kv_heads, tokens, head_dim), segment by segment."""
        return [(segment.keys[layer], segment.values[layer]) for segment in self.stem]

    def stored(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of one layer, (texts, kv_heads, capacity, head_dim), rotated; None: it stores none."""
        return (self._keys[layer], self._values[layer]) if layer in self._keys else None

    def advance(self, counts: Sequence[int]) -> None:
        """Add `counts` to `lengths`; call once per forward, after every layer has been extended."""
        self.lengths = [a + b for a, b in zip(self.lengths, counts, strict=True)]
        self._rows.clear()

    def rewind(self, lengths: Sequence[int]) -> None:
        """Truncate each text i to its first `lengths[i]` tokens.

        The arrays keep the old values until new tokens overwrite them: no query attends to keys after its position.
        """
        if any(not self._stem_length <= n <= cached for n, cached in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"a cache of {self.lengths} tokens cannot be rewound to {list(lengths)}")
        self.lengths = list(lengths)
        self._rows.clear()

    def grow(self, tokens: int) -> None:
        """Extend every text by `tokens` tokens of arbitrary values, to trace the memory of a full cache."""
        self.lengths = [n + tokens for n in self.lengths]
        self._rows.clear()
        needed = max(self.lengths, default=0) - self._stem_length + GROWTH
        for arrays in (self._keys, self._values):
            for layer, array in arrays.items():
                arrays[layer] = F.pad(array, (0, 0, 0, max(0, needed - array.shape[2])))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the texts `rows`, in that order; a row that occurs twice is copied."""
        if list(rows) == list(range(len(self.lengths))):
            return
        self.lengths = [self.lengths[r] for r in rows]
        self._rows.clear()
        max_seqlen = max(self.lengths, default=self._stem_length) - self._stem_length
        for layer in self._keys:
            at = torch.tensor(list(rows), dtype=torch.int64, device=self._keys[layer].device)
            keys, values = self._keys[layer][:, :, :max_seqlen], self._values[layer][:, :, :max_seqlen]
            spare = (0, 0, 0, GROWTH)
            self._keys[layer] = F.pad(keys.index_select(0, at), spare)
            self._values[layer] = F.pad(values.index_select(0, at), spare)

    def join(self, other: KeyValueCache) -> None:
        """Append the texts of `other`, whose arrays this cache may take over. Raises ValueError for another stem."""
        if not self.lengths:
            self.lengths, self._keys, self._values = other.lengths, other._keys, other._values
            self.stem, self._stem_length = other.stem, other._stem_length
            return
        if self._stem_length != other._stem_length:
            raise ValueError("texts that begin with different tokens cannot be joined")
        self.lengths = self.lengths + other.lengths
        self._rows.clear()
        max_seqlen = max(self.lengths, default=self._stem_length) - self._stem_length
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            for layer, new in theirs.items():
                old = mine[layer]
                _, heads, _, dim = old.shape
                both = new.new_zeros(len(old) + len(new), heads, max_seqlen + GROWTH, dim)
                for rows, part in ((both[: len(old)], old), (both[len(old) :], new)):
                    used = min(part.shape[2], max_seqlen)
                    rows[:, :, :used].copy_(part[:, :, :used])
                mine[layer] = both

    def _source_and_target(
        self, heads: int, max_seqlen: int, capacity: int, counts: Sequence[int], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Rows of the new tokens in their padded block and in the cached array, both flattened over texts and heads."""
        key = (heads, max_seqlen, capacity, tuple(counts))
        if key not in self._rows:
            text = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], device=device)
            offset = torch.tensor([j for n in counts for j in range(n)], device=device)
            start = torch.tensor(self.lengths, device=device)[text] - self._stem_length
            row = text * heads + torch.arange(heads, device=device)[:, None]  # (heads, tokens)
            source, target = (row * max_seqlen + offset).reshape(-1), (row * capacity + start + offset).reshape(-1)
            order = source.argsort()
            self._rows[key] = (source[order], target[order])
        return self._rows[key]
