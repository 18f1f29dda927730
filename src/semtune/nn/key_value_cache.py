"""The key-value cache for decoding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

GROWTH = 32
"""Extra tokens of capacity whenever the arrays grow."""


class KeyValueCache:
    """Keys and values of `texts` texts, layer by layer, right-padded.

    Arrays are (texts, kv_heads, capacity, head_dim) and grow as needed; `lengths` counts the tokens of each text. The
    methods are those of `contracts.Cache`.
    """

    rewindable = True

    def __init__(self, texts: int) -> None:
        self.lengths = [0] * texts
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._rows: dict[object, tuple[Tensor, Tensor]] = {}
        """Source and target rows of the tokens of this forward; the same for every layer."""

    def extend(self, layer: int, keys: Tensor, values: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Append `counts[i]` new tokens to text i, given right-padded (texts, kv_heads, max(counts), head_dim).

        Returns all keys and values of this layer, (texts, kv_heads, max(lengths + counts), head_dim).
        """
        needed = max(a + b for a, b in zip(self.lengths, counts, strict=True))
        if layer not in self._keys:
            if max(self.lengths) != 0:
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
        if any(n > cached for n, cached in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"a cache of {self.lengths} tokens cannot be rewound to {list(lengths)}")
        self.lengths = list(lengths)
        self._rows.clear()

    def grow(self, tokens: int) -> None:
        """Extend every text by `tokens` tokens of arbitrary values, to trace the memory of a full cache."""
        self.lengths = [n + tokens for n in self.lengths]
        self._rows.clear()
        needed = max(self.lengths, default=0) + GROWTH
        for arrays in (self._keys, self._values):
            for layer, array in arrays.items():
                arrays[layer] = F.pad(array, (0, 0, 0, max(0, needed - array.shape[2])))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the texts `rows`, in that order; a row that occurs twice is copied."""
        if list(rows) == list(range(len(self.lengths))):
            return
        self.lengths = [self.lengths[r] for r in rows]
        self._rows.clear()
        max_seqlen = max(self.lengths, default=0)
        for layer in self._keys:
            at = torch.tensor(list(rows), device=self._keys[layer].device)
            keys, values = self._keys[layer][:, :, :max_seqlen], self._values[layer][:, :, :max_seqlen]
            spare = (0, 0, 0, GROWTH)
            self._keys[layer] = F.pad(keys.index_select(0, at), spare)
            self._values[layer] = F.pad(values.index_select(0, at), spare)

    def join(self, other: KeyValueCache) -> None:
        """Append the texts of `other`, whose arrays this cache may take over."""
        if not self.lengths:
            self.lengths, self._keys, self._values = other.lengths, other._keys, other._values
            return
        self.lengths = self.lengths + other.lengths
        self._rows.clear()
        max_seqlen = max(self.lengths, default=0)
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
            start = torch.tensor(self.lengths, device=device)[text]
            row = text * heads + torch.arange(heads, device=device)[:, None]  # (heads, tokens)
            source, target = (row * max_seqlen + offset).reshape(-1), (row * capacity + start + offset).reshape(-1)
            order = source.argsort()
            self._rows[key] = (source[order], target[order])
        return self._rows[key]
