"""Unpadded batches through transformers' own doors: an attention function, and a mask function of the same name.

The tokens of all texts lie end to end in one row; a `semtune.nn.packed_batch.PackedBatch` travels to every attention layer as a
keyword argument and says where each text begins. transformers would build a mask for the row: a four-dimensional
stand-in makes it leave the mask alone.

A model that carries this attention function still works with padded batches and no `packed_batch`: then it is transformers'
sdpa with the mask that the mask function of the same name builds. Without that second registration transformers would
silently pass no mask at all, and padded decoding would attend to padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from semtune.errors import ModelError
from semtune.models import decoder
from semtune.nn.attention import packed_attention
from semtune.nn.packed_batch import PackedBatch, padding_to_multiple

NAME = "semtune_packed"
_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""What some architectures add to their scores, and this function does not."""


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packed_batch: PackedBatch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature: q (1, heads, tokens, head_dim) -> (1, tokens, heads, head_dim)."""
    if packed_batch is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(
                f"This architecture's attention uses {name}, which semtune's unpadded attention does not support yet; "
                "choose a model of the Llama, Qwen, Mistral or SmolLM families."
            )
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # each (tokens, heads, head_dim)
    attn_output = packed_attention(q, k, v, packed_batch, layer=layer, scale=scale, window=kwargs.get("sliding_window"))
    return attn_output.unsqueeze(0), None


def install(model: nn.Module) -> None:
    """Register the attention and its mask, and select them on `model`."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)  # type: ignore[operator]


def packed_hidden_states(
    model: nn.Module,
    input_ids: Tensor,
    packed_batch: PackedBatch,
    places: Sequence[int] | None = None,
    *,
    activation_checkpointing: bool = False,
) -> Tensor:
    """Last hidden states of texts laid end to end: (tokens,) -> (tokens or places, hidden_size).

    `model` is a causal language model of transformers that `install` has seen. A cache in `packed_batch` is read and
    extended. `places`: the tokens whose states are wanted, ascending; None: all.
    `activation_checkpointing`: keep of each block its input alone for the backward.
    """
    tokens = input_ids.shape[0]
    packed_batch.padding = padding_to_multiple(tokens)
    input_ids = F.pad(input_ids, (0, packed_batch.padding))
    if decoder.has_known_blocks(model):
        hidden = decoder.hidden_states(
            model, input_ids, packed_batch, places, activation_checkpointing=activation_checkpointing
        )
    else:
        hidden = _stock_forward(model, input_ids, packed_batch, activation_checkpointing=activation_checkpointing)
        if places is not None:
            hidden = hidden.index_select(0, torch.tensor(list(places), device=hidden.device))
    packed_batch.advance()
    return hidden[:tokens]


def _stock_forward(
    model: nn.Module, input_ids: Tensor, packed_batch: PackedBatch, *, activation_checkpointing: bool
) -> Tensor:
    """transformers' own forward with our attention: (tokens + padding,) -> (tokens + padding, hidden_size)."""
    if activation_checkpointing:  # of no effect where it has been done
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
    output = model.base_model(  # type: ignore[operator]
        input_ids=input_ids.unsqueeze(0),
        position_ids=packed_batch.position_ids(input_ids.device),
        attention_mask=torch.empty(1, 1, 1, 1, device=input_ids.device),  # a stand-in
        use_cache=False,
        packed_batch=packed_batch,
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden
