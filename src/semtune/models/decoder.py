"""The forward of a Llama-like decoder over texts laid end to end: transformers' weights and modules, our steps.

The family's block is: x + o(attention(q, k, v of norm(x))), then x + down(silu(gate) ⊙ up) of norm(x). Written out
here it runs each elementwise part as one step (`nn.elementwise`, `nn.attention`), and in the last block works out only
what is asked for: a loss over completions needs the keys and values of every token there, but queries, output product
and MLP of the completion's tokens alone.

Everything that holds weights is called as a module, so adapters and 4-bit layers need nothing from this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semtune.models.family import Architecture, architecture_of
from semtune.nn.attention import packed_attention
from semtune.nn.elementwise import add_rms_norm, rms_norm, swiglu
from semtune.nn.packed_batch import PackedBatch, padding_to_multiple
from semtune.nn.padding import Rotary


def has_known_blocks(model: nn.Module) -> bool:
    """Whether `hidden_states` can run this causal language model of transformers."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    whole_heads = getattr(config, "partial_rotary_factor", None) in (None, 1.0)
    return architecture_of(model).known_blocks and config.hidden_act == "silu" and whole_heads


def hidden_states(
    model: nn.Module,
    input_ids: Tensor,
    packed_batch: PackedBatch,
    places: Sequence[int] | None,
    *,
    activation_checkpointing: bool = False,
) -> Tensor:
    """Last hidden states of texts laid end to end.

    Args:
        model: one that `has_known_blocks`.
        input_ids: (tokens + padding,).
        packed_batch: how the tokens divide into texts; a cache in it is read and extended, not advanced.
        places: the tokens whose states are wanted, ascending; None: all of them.
        activation_checkpointing: keep of each block its input alone, and compute the rest again in backward (Chen et al. 2016).

    Returns:
        (places, hidden_size), or (tokens + padding, hidden_size).
    """
    base: Any = model.base_model
    x: Tensor = base.embed_tokens(input_ids)  # (tokens + padding, hidden)
    family = architecture_of(model)
    rotary = rotary_table(
        base, max(packed_batch.cache_seqlens) + max(packed_batch.lengths), x
    )  # padded places included
    more: Tensor | None = None  # what the last block's MLP adds to x, summed where the next norm reads both
    block = _recomputed if activation_checkpointing and torch.is_grad_enabled() else _block
    for layer in base.layers[:-1]:
        x, more = block(layer, x, more, rotary, packed_batch, family, None)
    wanted = _Wanted(tuple(places), x.device) if places is not None else None
    x, more = block(base.layers[-1], x, more, rotary, packed_batch, family, wanted)
    _, normed = _add_norm(base.norm, x, more)
    return normed if wanted is None else normed[: len(wanted.places)]


def rotary_table(base: Any, positions: int, like: Tensor) -> Rotary:
    """cos and sin for positions 0 … `positions` - 1, by the model's own rule."""
    at = torch.arange(positions, device=like.device).unsqueeze(0)
    cos, sin = base.rotary_emb(like, position_ids=at)  # (1, positions, head_dim): the two halves are equal
    half = cos.shape[-1] // 2
    return Rotary(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())


class _Wanted:
    """The tokens whose last states are asked for, and some more of them to make the rows a size that comes again."""

    def __init__(self, places: tuple[int, ...], device: torch.device) -> None:
        self.places = places
        filled = places + places[:1] * padding_to_multiple(len(places))
        self.rows = torch.tensor(filled, device=device)


def _block(
    layer: Any,
    x: Tensor,
    more: Tensor | None,
    rotary: Rotary,
    packed_batch: PackedBatch,
    family: Architecture,
    wanted: _Wanted | None,
) -> tuple[Tensor, Tensor]:
    """One block on x + more (rows, hidden); what it makes is again the sum of the two that it returns.

    Of the `wanted` rows alone where given.
    """
    attention, mlp = layer.self_attn, layer.mlp
    x, normed = _add_norm(layer.input_layernorm, x, more)
    asking = normed
    if wanted is not None:
        x, asking = x.index_select(0, wanted.rows), normed.index_select(0, wanted.rows)
    dim = attention.head_dim
    q, k = attention.q_proj(asking).view(len(asking), -1, dim), attention.k_proj(normed).view(len(normed), -1, dim)
    if family.qk_norm:
        q, k = _head_norm(attention.q_norm, q), _head_norm(attention.k_norm, k)
    attn_output = packed_attention(
        q,
        k,
        attention.v_proj(normed).view(len(normed), -1, dim),
        packed_batch,
        layer=attention.layer_idx,
        scale=attention.scaling,
        window=_window(attention, family),
        rotary=rotary,
        queries=None if wanted is None else wanted.places,
    )
    x, normed = _add_norm(layer.post_attention_layernorm, x, attention.o_proj(attn_output.view(len(attn_output), -1)))
    return x, mlp.down_proj(swiglu(mlp.gate_proj(normed), mlp.up_proj(normed)))


def _recomputed(*arguments: Any) -> tuple[Tensor, Tensor]:
    """`_block`, whose inner results are computed again in backward, with the same dropout."""
    rerun: Callable[..., Any] = checkpoint
    pair: tuple[Tensor, Tensor] = rerun(_block, *arguments, use_reentrant=False)
    return pair


def _add_norm(module: Any, x: Tensor, more: Tensor | None) -> tuple[Tensor, Tensor]:
    """x + more, and its norm."""
    if more is None:
        return x, _norm(module, x)
    if x.dtype == torch.float64:
        x = x + more
        return x, _norm(module, x)
    return add_rms_norm(x, more, module.weight, module.variance_epsilon)


def _norm(module: Any, x: Tensor) -> Tensor:
    """transformers takes the norm in fp32 even of fp64, which then must be left to it."""
    if x.dtype == torch.float64:
        normed: Tensor = module(x)
        return normed
    return rms_norm(x, module.weight, module.variance_epsilon)


def _head_norm(module: Any, x: Tensor) -> Tensor:
    """The norm of each head, (rows, heads, head_dim)."""
    return _norm(module, x.reshape(-1, x.shape[-1])).view(x.shape)


def _window(attention: Any, family: Architecture) -> int | None:
    """The layer's sliding window in tokens."""
    holder = attention.config if family.window_of_config else attention
    window: int | None = getattr(holder, "sliding_window", None)
    return window
