"""Packed batches through transformers' own interfaces: an attention function, and a mask function of the same name.

A `semtune.nn.packed_batch.PackedBatch` reaches every attention layer as the keyword argument `packed_batch`.
transformers would build a (1, 1, tokens, tokens) mask for the packed batch; the caller passes a four-dimensional
placeholder mask, which transformers takes as it is.

Calls without a `packed_batch` (padded batches, `generate`) use transformers' sdpa and the mask that the mask function
of the same name builds. Without that second registration transformers would silently pass no mask at all, and padded
decoding would attend to padding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from semtune.errors import ModelError
from semtune.nn.attention import Prefix, packed_attention
from semtune.nn.packed_batch import PackedBatch

NAME = "semtune_packed"
PLACEHOLDER = (1, 1, 1, 1)
"""Shape of the mask that stands for "causal within each text"; a layer that makes another one of it is refused."""
_UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Keyword arguments of attention variants that `packed_attention` does not compute: soft capping, sinks, biases."""


def install_attention(model: nn.Module) -> None:
    """Register the attention and its mask with transformers, and select them on `model`."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)  # type: ignore[operator]


def learned_prefix(attention: nn.Module) -> Prefix | None:
    """Keys and values of the module's learned prefix, each (kv_heads, prefix_length, head_dim); None: it has none."""
    prefix = getattr(attention, "prefix", None)
    return None if prefix is None else prefix()


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
    """transformers' attention signature: q (1, heads, tokens, head_dim) -> (1, tokens, heads, head_dim).

    Raises ModelError where the architecture's attention needs what `packed_attention` does not compute.
    """
    prefix = learned_prefix(module)
    if packed_batch is None:
        if prefix is not None:
            causal = bool(getattr(module, "is_causal", True))
            key, value, attention_mask = _with_prefix(prefix, query, key, value, attention_mask, causal)
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(f"its attention uses {name}, which semtune's unpadded attention does not compute")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if attention_mask is not None and attention_mask.shape != PLACEHOLDER:
        query, key = _with_key_bias(query, key, attention_mask, scale)
    layer, window = int(module.layer_idx), kwargs.get("sliding_window")  # type: ignore[arg-type]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # each (tokens, heads, head_dim)
    attn_output = packed_attention(
        q, k, v, packed_batch, layer=layer, scale=scale, window=window, prefix=prefix,
        dropout=float(kwargs.get("dropout") or 0.0),
    )  # fmt: skip
    return attn_output.unsqueeze(0), None


def _with_key_bias(query: Tensor, key: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys with one more component, whose product adds `bias` to the scores.

    bias: (1, heads or kv_heads, 1, tokens), the same for every query. Raises ModelError for any other mask.
    """
    heads, tokens = key.shape[1], key.shape[2]
    if bias.shape[0] != 1 or bias.shape[2:] != (1, tokens) or bias.shape[1] % heads:
        raise ModelError("its attention makes a mask of its own, which semtune's unpadded attention does not compute")
    by_key = bias[:, :: bias.shape[1] // heads].transpose(2, 3)  # (1, kv_heads, tokens, 1)
    key = torch.cat([key, (by_key / scale).to(key.dtype)], dim=-1)
    return torch.cat([query, torch.ones_like(query[..., :1])], dim=-1), key


def _with_prefix(
    prefix: Prefix, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values with the prefix in front, (texts, kv_heads, prefix + seqlen_k, head_dim), and the mask.

    Every query may attend to the whole prefix.
    """
    if mask is None:  # the queries are the last seqlen_q of seqlen_k positions
        seqlen_q, seqlen_k = query.shape[2], key.shape[2]
        mask = torch.ones(1, 1, seqlen_q, seqlen_k, dtype=torch.bool, device=query.device)
        mask = mask.tril(diagonal=seqlen_k - seqlen_q) if causal else mask
    mask = F.pad(mask, (prefix[0].shape[1], 0), value=True if mask.dtype == torch.bool else 0.0)
    keys, values = (p.to(key.dtype).expand(len(key), -1, -1, -1) for p in prefix)
    return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2), mask
