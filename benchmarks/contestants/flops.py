"""Floating-point operations that one training step cannot do without, and what this machine's matrix products reach.

Counted are the matrix products of the decoder, one multiply-add as 2. With n inputs of a text (its last token is a
target only), c positions whose next token counts, and for each linear layer W (out, in):

    forward            2 n out in                      the last layer's q, o and MLP: c rows in place of n
    input gradient     2 n out in                      where something below is trained
    weight gradient    2 n out in                      where W itself is trained (full)
    adapter            2 n r (in + out) forward; backward the same for dA and dB, and again for the input gradient
                       (of the path below A: only where something below is trained)
    attention          4 n² d heads forward (scores, weighted sum; not halved for causality); 8 n² d heads backward,
                       6 in the lowest layer, where nothing below the keys is trained
    vocabulary         2 c V h forward, the same for the input gradient, and again for its weight (full)

No credit for what a program may do besides: padding, padding, recomputation, rows of the vocabulary product or of the
last layer at positions that do not count, unpacking of 4-bit weights, row norms (DoRA), norms, rotary embedding,
softmax, the optimizer. So FLOP utilisation = these operations / seconds / (the fastest matrix product measured in the
same process).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""In the order in which data flows through a layer."""
_INPUTS_OF_STAGE = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
_ALL_ROWS = ("k_proj", "v_proj")
"""In the last layer these run at every position; what the others make is used at the completion alone."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a Llama-like decoder."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From transformers' config."""
        text = config.get_text_config()
        heads = int(text.num_attention_heads)
        return cls(
            layers=int(text.num_hidden_layers),
            hidden=int(text.hidden_size),
            intermediate=int(text.intermediate_size),
            heads=heads,
            key_value_heads=int(getattr(text, "num_key_value_heads", None) or heads),
            head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
            vocabulary=int(text.vocab_size),
        )

    def linears(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each linear layer of a block."""
        h, queries, keys, i = (
            self.hidden,
            self.heads * self.head_dim,
            self.key_value_heads * self.head_dim,
            self.intermediate,
        )
        shapes = ((queries, h), (keys, h), (keys, h), (h, queries), (i, h), (i, h), (h, i))
        return dict(zip(LINEARS, shapes, strict=True))


def step_flops(
    shape: Shape,
    texts: Sequence[tuple[int, int]],
    *,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    rank: int = 8,
    full: bool = False,
    last_layer_at_completion: bool = True,
) -> int:
    """Operations of one optimizer step.

    Args:
        texts: (inputs, completion positions) of each text.
        targets: the linear layers with adapters, of `LINEARS`; without meaning where `full`.
        last_layer_at_completion: count the last layer's q, o and MLP at completion positions alone, as nothing else
            of it is needed; False counts all rows.
    """
    total = 0
    completions = sum(c for _, c in texts)
    for layer in range(shape.layers):
        pruned = last_layer_at_completion and layer == shape.layers - 1
        for name, (out, inner) in shape.linears().items():
            rows = completions if pruned and name not in _ALL_ROWS else sum(n for n, _ in texts)
            below = full or layer > 0 or _trained_below(name, targets)
            total += 2 * rows * out * inner * (1 + below + full)
            if not full and name in targets:
                total += 2 * rows * rank * (out + inner) * 2 + 2 * rows * rank * (out + (inner if below else 0))
        products = 2 + (4 if full or layer > 0 else 3)
        queries = [(c if pruned else n, n) for n, c in texts]
        total += products * 2 * sum(q * n for q, n in queries) * shape.head_dim * shape.heads
    return total + 2 * completions * shape.vocabulary * shape.hidden * (2 + full)


def _trained_below(name: str, targets: Sequence[str]) -> bool:
    """Whether in the lowest layer an adapter stands before `name`."""
    for stage in _INPUTS_OF_STAGE:
        if name in stage:
            return False
        if any(linear in targets for linear in stage):
            return True
    return False


def gemm_peak(shape: Shape, rows: int, dtype: Any, seconds: float = 1.5) -> float:
    """The most FLOP/s of a product in `dtype`, over large square sizes and the model's own with `rows` rows.

    Each size gets its share of `seconds`; its fastest call counts, torch's or semtune's own (`nn.products`).
    """
    import torch
    from torch.nn import functional as F

    from semtune.nn import panels

    sizes = {(2048, 2048, 2048), (1024, 4096, 1024)} | {(rows, i, o) for o, i in shape.linears().values()}
    best = 0.0
    with torch.no_grad():
        for n, inner, out in sorted(sizes):
            x, w = torch.randn(n, inner).to(dtype), torch.randn(out, inner).to(dtype)
            for multiply in (F.linear, panels.linear):
                multiply(x, w)  # the first call of a size may compile it
                until = time.perf_counter() + seconds / len(sizes) / 2
                while time.perf_counter() < until:
                    started = time.perf_counter()
                    multiply(x, w)
                    best = max(best, 2 * n * inner * out / (time.perf_counter() - started))
    return best
