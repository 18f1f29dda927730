"""Llama-like decoders (Llama, Mistral, Qwen2, Qwen3) whose blocks run their elementwise steps fused.

The forward of a packed batch embeds the tokens, calls the blocks (`fused_blocks`) and applies the final norm. The last
block computes only the tokens that are needed: a loss over completions needs the keys and values of every token there,
but queries, output projection and MLP of the completion's tokens alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semtune.models.architectures.fused_blocks import (
    BlockInputs,
    FusedAttention,
    FusedBlock,
    FusedMLP,
    FusedRMSNorm,
    fuse,
)
from semtune.models.architectures.stock import StockArchitecture
from semtune.nn.packed_batch import PackedBatch, padding_to_multiple
from semtune.nn.padding import Rotary

_FIXED_ANGLES = frozenset({"default", "linear", "llama3", "yarn"})
"""Kinds of rotary embeddings (transformers' `rope_type`) whose angles are a function of the position alone."""


class FusedArchitecture(StockArchitecture):
    """A decoder of blocks x + o(attention(q, k, v of norm(x))), then x + down(silu(gate) ⊙ up) of norm(x).

    Args:
        qk_norm: whether an RMSNorm follows the query and key projections, head by head.
        window_of_config: whether every layer reads `sliding_window` from the config, instead of its own attribute.
    """

    def __init__(self, *, qk_norm: bool = False, window_of_config: bool = False) -> None:
        super().__init__()
        self._qk_norm, self._window_of_config = qk_norm, window_of_config

    def install(self, model: nn.Module) -> None:
        """Select semtune's attention, and turn the blocks into fused ones where the config fits them."""
        super().install(model)
        if not _fits(model):
            return
        base: Any = model.base_model
        for block in base.layers:
            if not isinstance(block, FusedBlock):
                self._fuse_block(block)
        fuse(base.norm, FusedRMSNorm)

    def _fuse_block(self, block: Any) -> None:
        """Fuse a block and its children, in place."""
        attention, norms = block.self_attn, [block.input_layernorm, block.post_attention_layernorm]
        fuse(attention, FusedAttention)
        attention.window = getattr(attention.config if self._window_of_config else attention, "sliding_window", None)
        attention.qk_norm = self._qk_norm
        attention.register_module("prefix", None)
        if self._qk_norm:
            norms += [attention.q_norm, attention.k_norm]
        for norm in norms:
            fuse(norm, FusedRMSNorm)
        fuse(block.mlp, FusedMLP)
        fuse(block, FusedBlock)

    def _forward(
        self,
        model: nn.Module,
        input_ids: Tensor,
        batch: PackedBatch,
        query_indices: Sequence[int] | None,
        checkpointing: bool,
    ) -> Tensor:
        base: Any = model.base_model
        if not isinstance(base.layers[0], FusedBlock):
            return super()._forward(model, input_ids, batch, query_indices, checkpointing)
        hidden: Tensor = base.embed_tokens(input_ids)  # (tokens + padding, hidden_size)
        rotary = rotary_table(base, max(batch.cache_seqlens) + max(batch.lengths), hidden)  # padded rows included
        inputs = BlockInputs(batch, rotary, checkpointing=checkpointing)
        residual: Tensor | None = None
        for block in base.layers[:-1]:
            hidden, residual = block(hidden, residual=residual, packed=inputs)
        if query_indices is not None:
            indices = tuple(query_indices)
            rows = indices + indices[:1] * padding_to_multiple(len(indices))
            query_rows = torch.tensor(rows, device=hidden.device)
            inputs = dataclasses.replace(inputs, query_indices=indices, query_rows=query_rows)
        hidden, residual = base.layers[-1](hidden, residual=residual, packed=inputs)
        normed: Tensor = base.norm(hidden, residual)[0]
        return normed if query_indices is None else normed[: len(query_indices)]


def rotary_table(base: Any, positions: int, like: Tensor) -> Rotary:
    """cos and sin, each (positions, head_dim / 2), from the model's rotary embedding, in the dtype of `like`."""
    position_ids = torch.arange(positions, device=like.device).unsqueeze(0)
    cos, sin = base.rotary_emb(like, position_ids=position_ids)  # (1, positions, head_dim): the two halves are equal
    half = cos.shape[-1] // 2
    return Rotary(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())


def rotation_at(model: nn.Module, position: int) -> Rotary | None:
    """The rotation of a key at `position`, the same in every layer: cos and sin, fp32 (1, head_dim / 2) each.

    None where it is not known: blocks that are not fused may rotate in another form, or only in some layers, and some
    kinds of scaling rotate by angles that depend on the longest text.
    """
    base: Any = getattr(model, "base_model", None)
    layers = getattr(base, "layers", None)
    if not layers or not isinstance(layers[0], FusedBlock) or base.rotary_emb.rope_type not in _FIXED_ANGLES:
        return None
    like = torch.empty(0, device=base.embed_tokens.weight.device)
    table, length = rotary_table(base, position + 1, like), base.rotary_emb.attention_scaling
    return Rotary(table.cos[position:] / length, table.sin[position:] / length)


def _fits(model: nn.Module) -> bool:
    """Whether the config describes the block of `fused_blocks`: SwiGLU, rotary embedding over whole heads."""
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    return config.hidden_act == "silu" and getattr(config, "partial_rotary_factor", None) in (None, 1.0)


LLAMA = FusedArchitecture()
MISTRAL = FusedArchitecture(window_of_config=True)
QWEN2 = FusedArchitecture()
QWEN3 = FusedArchitecture(qk_norm=True)
