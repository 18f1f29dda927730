"""Block, attention, MLP and norm of a Llama-like decoder over a packed batch, with fused elementwise steps.

`fuse` makes a module of transformers an instance of a subclass of its own class and one of these, as FSDP2 does with
modules that it shards. So parameters, their names, children and hooks stay, and `isinstance` of transformers' class
stays true. Each class serves two kinds of calls: a packed batch, (tokens, hidden_size) without a batch dimension, runs
the code here; a tensor with a batch dimension runs transformers' own forward, so `model(input_ids, attention_mask)`
and `generate` work as before. "Rows" below are tokens of a packed batch.

Everything with weights is called as a module: hooks, adapters, 4-bit layers and per-block sharding need nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semtune.models.packed_attention import learned_prefix
from semtune.nn.attention import packed_attention
from semtune.nn.block_output import BlockOutput
from semtune.nn.elementwise import add_rms_norm, rms_norm, swiglu
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.padding import Rotary


@dataclass(frozen=True, slots=True)
class BlockInputs:
    """What a block receives beside the hidden states of a packed batch.

    All blocks but the last share one; only the last has query indices, as the others' keys need every token.
    """

    batch: PackedBatch
    rotary: Rotary
    query_indices: tuple[int, ...] | None = None
    """Indices of the tokens for which the block computes its output; None: all tokens."""
    query_rows: Tensor | None = None
    """int64 (query rows,): `query_indices`, padded to a multiple by repeating the first; None where that is None."""
    checkpointing: bool = False
    """Activation checkpointing: the backward recomputes the block's activations from its input (Chen et al. 2016)."""


def fuse(module: nn.Module, fused: type[nn.Module]) -> None:
    """Make the class of `module`, in place, a subclass of `fused` and its present class; a second call does nothing."""
    if not isinstance(module, fused):
        key = (fused, type(module))
        if key not in _CLASSES:
            _CLASSES[key] = type(f"Fused{type(module).__name__}", key, {"__module__": __name__})
        module.__class__ = _CLASSES[key]


_CLASSES: dict[tuple[type, type], type] = {}
"""(fused class, class of transformers) -> their common subclass, made once."""


class FusedRMSNorm(nn.Module):
    """RMSNorm, with the residual addition before it where a residual is given."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Any:
        """norm(x), or with a residual (norm(x + residual), x + residual); x and residual (rows, hidden_size)."""
        # transformers computes the norm in fp32 even for fp64 models, so fp64 is left to it.
        if x.dim() != 2 or x.dtype == torch.float64:
            if residual is None:
                return super().forward(x)
            residual = residual + x
            return super().forward(residual), residual
        if residual is None:
            return rms_norm(x, self.weight, self.variance_epsilon)
        residual, normed = add_rms_norm(residual, x, self.weight, self.variance_epsilon)
        return normed, residual


class FusedMLP(nn.Module):
    """down(silu(gate(x)) ⊙ up(x))."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(rows, hidden_size) -> (rows, hidden_size)."""
        if x.dim() != 2:
            unfused: Tensor = super().forward(x)
            return unfused
        out: Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
        return out


class FusedAttention(nn.Module):
    """The four projections, and `packed_attention` between them.

    The optional child module `prefix` is a learned prefix (prefix tuning): calling it returns (keys, values), each
    (kv_heads, prefix_length, head_dim).
    """

    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module
    o_proj: nn.Module
    q_norm: nn.Module
    k_norm: nn.Module
    window: int | None
    qk_norm: bool
    head_dim: int
    scaling: float
    attention_dropout: float
    layer_idx: int

    def forward(
        self, hidden_states: Tensor, *args: Any, packed: BlockInputs | None = None, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        """(rows, hidden_size) -> (query rows, hidden_size), and None in place of the attention weights."""
        if packed is None:
            unfused: tuple[Tensor, Any] = super().forward(hidden_states, *args, **kwargs)
            return unfused
        rows = packed.query_rows
        queries = hidden_states if rows is None else hidden_states.index_select(0, rows)
        q = self.q_proj(queries).view(len(queries), -1, self.head_dim)
        k = self.k_proj(hidden_states).view(len(hidden_states), -1, self.head_dim)
        if self.qk_norm:
            q, k = self._norm_heads(self.q_norm, q), self._norm_heads(self.k_norm, k)
        attn_output = packed_attention(
            q,
            k,
            self.v_proj(hidden_states).view(len(hidden_states), -1, self.head_dim),
            packed.batch,
            layer=self.layer_idx,
            scale=self.scaling,
            window=self.window,
            rotary=packed.rotary,
            query_indices=packed.query_indices,
            prefix=learned_prefix(self),
            dropout=float(self.attention_dropout) if self.training else 0.0,
        )
        return self.o_proj(attn_output.view(len(attn_output), -1)), None

    @staticmethod
    def _norm_heads(norm: nn.Module, x: Tensor) -> Tensor:
        """`norm` over head_dim of x, (rows, heads, head_dim)."""
        normed: Tensor = norm(x.reshape(-1, x.shape[-1])).view(x.shape)
        return normed


class FusedBlock(nn.Module):
    """One block. Its output is `hidden_states + residual`; both are returned unsummed (`BlockOutput`) so that the next
    norm can fuse the addition."""

    input_layernorm: nn.Module
    self_attn: nn.Module
    post_attention_layernorm: nn.Module
    mlp: nn.Module

    def forward(
        self,
        hidden_states: Tensor,
        *args: Any,
        residual: Tensor | None = None,
        packed: BlockInputs | None = None,
        **kwargs: Any,
    ) -> Any:
        """With `packed`: hidden_states and residual, (rows, hidden_size) -> the two, each (query rows, hidden_size).

        residual None: the first block, whose input is `hidden_states` alone.

        Activation checkpointing is inside, not around the call, so that hooks fire once and FSDP2 gathers once.
        """
        if packed is None:
            return super().forward(hidden_states, *args, **kwargs)
        if not (packed.checkpointing and torch.is_grad_enabled()):
            return self._packed_forward(hidden_states, residual, packed)
        checkpointed: Callable[..., Any] = checkpoint  # typed here, as torch leaves it untyped
        return checkpointed(self._packed_forward, hidden_states, residual, packed, use_reentrant=False)

    def _packed_forward(self, hidden_states: Tensor, residual: Tensor | None, packed: BlockInputs) -> BlockOutput:
        if residual is None:
            residual, normed = hidden_states, self.input_layernorm(hidden_states)
        else:
            normed, residual = self.input_layernorm(hidden_states, residual)
        if packed.query_rows is not None:
            residual = residual.index_select(0, packed.query_rows)
        attn_output, _ = self.self_attn(normed, packed=packed)
        normed, residual = self.post_attention_layernorm(attn_output, residual)
        return BlockOutput(self.mlp(normed), residual)
