"""Attention over unpadded texts laid end to end, with an optional cache of keys and values for decoding.

The linear layers of a model see only real tokens, (1, tokens, hidden). Attention needs texts apart, so inside attention
alone queries, keys and values are put into a right-padded block of (texts, heads, longest, head_dim). Because attention
is causal and padding stands on the right, no real query ever sees a padded key: no padding mask is needed, nothing can
leak from one text into another, and what a padded query computes is dropped on the way back.

For short texts plain matrix products are used: on CPU the fused kernel's backward in bfloat16 costs more than it saves.
Every length is a Python int, so that a step also runs on fake tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

PLAIN_UP_TO = 256
"""Longest text (tokens) for which attention is written out; longer ones go to the fused kernel."""

ROW_MULTIPLE = 32
"""Tokens of a forward are rounded up to a multiple of this."""


class KeyValueCache:
    """Keys and values of `texts` texts, layer by layer, each text's tokens at the left of its row.

    Arrays are (texts, kv_heads, capacity, head_dim), grown as needed; `lengths` counts the tokens each text holds.
    """

    def __init__(self, texts: int) -> None:
        self.lengths = [0] * texts
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Append `counts[i]` new tokens to text i, given right-padded (texts, kv_heads, max(counts), head_dim).

        Returns all keys and values of this layer, (texts, kv_heads, max(lengths + counts), head_dim).
        """
        needed = max(a + b for a, b in zip(self.lengths, counts, strict=True))
        old_keys, old_values = self._keys.get(layer), self._values.get(layer)
        if old_keys is None or old_values is None:
            if max(self.lengths) != 0:
                raise RuntimeError(f"layer {layer} was not cached from the first token on")
            self._keys[layer], self._values[layer] = keys, values
            return keys, values
        if old_keys.shape[2] < needed:
            room = max(needed, old_keys.shape[2] + 16) - old_keys.shape[2]
            old_keys = F.pad(old_keys, (0, 0, 0, room))
            old_values = F.pad(old_values, (0, 0, 0, room))
            self._keys[layer], self._values[layer] = old_keys, old_values
        row = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], device=keys.device)
        source = torch.tensor([j for n in counts for j in range(n)], device=keys.device)
        starts = self.lengths
        target = torch.tensor([starts[i] + j for i, n in enumerate(counts) for j in range(n)], device=keys.device)
        old_keys[row, :, target] = keys[row, :, source]
        old_values[row, :, target] = values[row, :, source]
        return old_keys[:, :, :needed], old_values[:, :, :needed]

    def advance(self, counts: Sequence[int]) -> None:
        """Note that every layer has been extended by `counts`; call once a forward."""
        self.lengths = [a + b for a, b in zip(self.lengths, counts, strict=True)]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all texts but `rows` (finished ones, say)."""
        index = torch.tensor(list(rows))
        self.lengths = [self.lengths[r] for r in rows]
        longest = max(self.lengths, default=0)
        for layer in self._keys:
            at = index.to(self._keys[layer].device)
            self._keys[layer] = self._keys[layer].index_select(0, at)[:, :, :longest]
            self._values[layer] = self._values[layer].index_select(0, at)[:, :, :longest]


@dataclass
class Ragged:
    """How the tokens of one forward divide into texts: `lengths[i]` new tokens of text i, laid end to end."""

    lengths: tuple[int, ...]
    cache: KeyValueCache | None = None
    filler: int = 0
    """Dummy tokens after the last text. They take part in no attention; see `filler_for`."""
    _block_index: Tensor | None = field(default=None, init=False, repr=False)
    _flat_index: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def starts(self) -> list[int]:
        """Tokens of each text that are in the cache already."""
        return list(self.cache.lengths) if self.cache is not None else [0] * len(self.lengths)

    def position_ids(self, device: torch.device) -> Tensor:
        """Position of each token within its own text, (1, tokens + filler)."""
        flat = [s + j for s, n in zip(self.starts, self.lengths, strict=True) for j in range(n)]
        return torch.tensor([flat + [0] * self.filler], device=device)

    @property
    def uniform(self) -> bool:
        """Whether all texts have the same number of new tokens: then reshaping suffices."""
        return min(self.lengths) == max(self.lengths)

    def to_block(self, x: Tensor) -> Tensor:
        """(1, heads, tokens + filler, head_dim) -> (texts, heads, longest, head_dim), right-padded."""
        _, heads, _, dim = x.shape
        texts, longest = len(self.lengths), max(self.lengths)
        if self.uniform and not self.filler:
            return x.view(heads, texts, longest, dim).transpose(0, 1)
        if self._block_index is None:
            index, offset = [], 0
            for n in self.lengths:
                # A padded place repeats the text's last token: a finite value that no real query sees.
                index += [offset + min(j, n - 1) for j in range(longest)]
                offset += n
            self._block_index = torch.tensor(index, device=x.device)
        picked: Tensor = _PickTokens.apply(x[0], self._block_index, self._flat(x.device))  # type: ignore[no-untyped-call]
        return picked.view(heads, texts, longest, dim).transpose(0, 1)

    def from_block(self, x: Tensor) -> Tensor:
        """(texts, heads, longest, head_dim) -> (1, tokens + filler, heads, head_dim), padding dropped, filler zero."""
        texts, heads, longest, dim = x.shape
        flat = x.transpose(1, 2).reshape(texts * longest, heads, dim)
        if not self.uniform:
            flat = flat.index_select(0, self._flat(x.device))
        if self.filler:
            flat = F.pad(flat, (0, 0, 0, 0, 0, self.filler))
        return flat.unsqueeze(0)

    def _flat(self, device: torch.device) -> Tensor:
        """Place in the block, (tokens,), of each token."""
        if self._flat_index is None:
            longest = max(self.lengths)
            places = [i * longest + j for i, n in enumerate(self.lengths) for j in range(n)]
            self._flat_index = torch.tensor(places, device=device)
        return self._flat_index


class _PickTokens(torch.autograd.Function):
    """Gather tokens into the padded block; the gradient of a padded place is dropped, not summed into its stand-in.

    (That gradient is exactly zero as long as attention is causal; dropping it saves the scatter-add.)
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, block: Tensor, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        ctx.filler = x.shape[1] - flat.shape[0]  # type: ignore[attr-defined]
        return x.index_select(1, block)  # (heads, texts * longest, head_dim)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (flat,) = ctx.saved_tensors  # type: ignore[attr-defined]
        real = grads[0].index_select(1, flat)  # (heads, tokens, head_dim)
        return F.pad(real, (0, 0, 0, ctx.filler)), None, None  # type: ignore[attr-defined]


def filler_for(tokens: int) -> int:
    """How many dummy tokens bring a row of `tokens` to a size that comes again.

    On CPU every new size of a matrix product is compiled by oneDNN, and the compiled form is kept with its scratch
    memory; rows of any length would compile hundreds of them. Short rows (decoding) stay as they are: their sizes are
    few.
    """
    return -tokens % ROW_MULTIPLE if tokens > ROW_MULTIPLE else 0


def ragged_attention(
    q: Tensor, k: Tensor, v: Tensor, ragged: Ragged, *, layer: int, scale: float, window: int | None = None
) -> Tensor:
    """Causal attention, each text by itself.

    Args:
        q: (1, heads, tokens, head_dim).
        k, v: (1, kv_heads, tokens, head_dim); heads is a multiple of kv_heads.
        ragged: how tokens divide into texts, and the cache if there is one.
        layer: index of the layer, for the cache.
        scale: factor on the scores, 1/sqrt(head_dim) as a rule.
        window: sliding window in tokens, None for full attention.

    Returns:
        (1, tokens, heads, head_dim).
    """
    starts = ragged.starts
    q, k, v = ragged.to_block(q), ragged.to_block(k), ragged.to_block(v)
    if ragged.cache is not None:
        k, v = ragged.cache.extend(layer, k, v, ragged.lengths)
    longest, reach = q.shape[2], k.shape[2]
    fresh = max(starts) == 0
    windowed = window is not None and reach > window
    if fresh and not windowed and longest > PLAIN_UP_TO:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
    else:
        hidden = _hidden_places(starts, longest, reach, window if windowed else None, q.device)
        out = _plain_attention(q, k, v, hidden, scale)
    return ragged.from_block(out)


def _hidden_places(starts: list[int], longest: int, reach: int, window: int | None, device: torch.device) -> Tensor:
    """Which keys each query must not see: (texts or 1, 1, longest, reach), True where hidden."""
    if max(starts) == min(starts):
        starts = starts[:1]
    at = torch.tensor(starts, device=device).view(-1, 1, 1, 1) + torch.arange(longest, device=device).view(1, 1, -1, 1)
    key = torch.arange(reach, device=device).view(1, 1, 1, -1)
    hidden = key > at
    return hidden if window is None else hidden | (key <= at - window)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, scale: float) -> Tensor:
    """softmax(q k^T scale) v written out; query heads of one kv head are taken together, so keys are never repeated."""
    texts, heads, longest, dim = q.shape
    kv_heads, reach = k.shape[1], k.shape[2]
    group = heads // kv_heads
    q = q.reshape(texts * kv_heads, group * longest, dim)
    k = k.reshape(texts * kv_heads, reach, dim)
    v = v.reshape(texts * kv_heads, reach, v.shape[-1])
    scores = torch.bmm(q * scale, k.transpose(1, 2))  # (texts*kv, group*longest, reach)
    scores = scores.view(texts, heads, longest, reach).masked_fill(hidden, -math.inf)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32 if q.dtype == torch.bfloat16 else None).to(q.dtype)
    out = torch.bmm(weights.view(texts * kv_heads, group * longest, reach), v)
    return out.view(texts, heads, longest, -1)
