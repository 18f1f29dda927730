"""A model of fake tensors, for plans: built from the config alone, without reading or allocating weights.

The same code as for a real model fills it (`meta_model.fill`), one tensor after the other, so that the peak of loading
is traced too. Call it inside a fake-tensor mode.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from semtune.contracts import Tokenizer
from semtune.models.class_logits import hidden_width
from semtune.models.loaded import TransformersModel
from semtune.models.loading import finish
from semtune.models.meta_model import build_meta_model, expected_tensors, materialise_buffers


def layer_count(config: Any) -> int:
    """Number of the decoder's blocks."""
    return int(config.get_text_config().num_hidden_layers)


def with_layers(config: Any, layers: int) -> Any:
    """A copy of transformers' `config` with `layers` blocks, whose kinds repeat those of `config` from the first on.

    Every list with an entry for each block is shortened or repeated; a property that follows from others is not set.
    """
    config = copy.deepcopy(config)
    text = config.get_text_config()
    before = layer_count(config)
    apart = text.to_dict().get("per_layer_config")
    if isinstance(apart, dict):
        return _with_text(config, text, _fields_with_layers(text.to_dict(), before, layers))
    for name, values in vars(text).items():
        if isinstance(values, (list, tuple)) and len(values) == before:
            vars(text)[name] = type(values)(values[i % before] for i in range(layers))
    text.num_hidden_layers = layers
    return config


def _fields_with_layers(fields: dict[str, Any], before: int, layers: int) -> dict[str, Any]:
    """The fields of a config some of whose layers have own values (`per_layer_config`, by index), for `layers`."""
    apart = {int(i): own for i, own in fields["per_layer_config"].items()}
    source = [*(i % before for i in range(layers - 1)), before - 1]  # such configs prescribe the kind of the last layer
    for name, values in fields.items():
        if isinstance(values, list) and len(values) == before:
            fields[name] = [values[i] for i in source]
    own = {i: apart[old] for i, old in enumerate(source) if old in apart}
    return {**fields, "num_hidden_layers": layers, "per_layer_config": own}


def _with_text(config: Any, text: Any, fields: dict[str, Any]) -> Any:
    """`config` with its text part made anew from `fields`."""
    made = type(text).from_dict(fields)
    if text is config:
        return made
    for name in config.sub_configs:
        if getattr(config, name, None) is text:
            setattr(config, name, made)
    return config


def build_fake_model(
    config: Any,
    *,
    name: str,
    precision: str,
    dtype: torch.dtype,
    device: torch.device,
    stored_dtype: torch.dtype,
    tokenizer: Tokenizer,
    frozen: bool = False,
) -> TransformersModel:
    """As `loading.load`, with fake tensors in place of those in the files.

    Args:
        dtype: compute dtype.
        stored_dtype: dtype of the tensors in the model's files.
        frozen: see `loading.load`.

    Raises:
        ModelError: transformers has no causal language model for `config`.
    """
    _use_grouped_products_that_can_be_faked()
    model = build_meta_model(config, dtype)
    materialise_buffers(model, device)
    stream = _FakeStream(model, stored_dtype)
    notes = finish(model, stream, precision=precision, dtype=dtype, device=device, frozen=frozen)
    return TransformersModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        compute_dtype=dtype,
        device=device,
        hidden_size=hidden_width(model),
        notes=notes,
        reread=lambda: iter(stream),
    )


def _use_grouped_products_that_can_be_faked() -> None:
    """Let experts take transformers' own grouped product on fake tensors: torch's refuses fp32 there."""
    from torch._subclasses.fake_tensor import FakeTensor
    from transformers.integrations import moe

    chosen: Any = getattr(moe, "_can_use_grouped_mm", None)
    if chosen is None or getattr(chosen, "asks_for_fakes", False):
        return

    def can_use(input: torch.Tensor, weight: torch.Tensor, offs: torch.Tensor) -> bool:
        return not isinstance(weight, FakeTensor) and bool(chosen(input, weight, offs))

    vars(can_use)["asks_for_fakes"] = True
    vars(moe)["_can_use_grouped_mm"] = can_use


_BOUNDED = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
"""Model types whose parameters `most_parameters` counts: a dense decoder of one kind of block."""


def most_parameters(config: Any) -> int | None:
    """An upper bound of the parameters that a config describes; None: no bound is known for its type.

    A mixture of experts, say, has many times the parameters that its sizes suggest. No model is built.
    """
    text = config.get_text_config()
    if text.model_type not in _BOUNDED:
        return None
    layers, hidden, mlp, heads = (
        int(getattr(text, name))
        for name in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    )
    head_dim = int(getattr(text, "head_dim", None) or hidden // heads)
    heads_and_values = heads + 2 * int(getattr(text, "num_key_value_heads", None) or heads)
    attention = hidden * head_dim * (heads_and_values + heads)
    vectors = 2 * hidden + 2 * head_dim + head_dim * heads_and_values + 2 * mlp + 2 * hidden  # norms and biases
    return layers * (attention + 3 * hidden * mlp + vectors) + 2 * int(text.vocab_size) * hidden + hidden


def about_parameters(config: Any) -> int | None:
    """About how many parameters a Llama-like config describes, embeddings counted twice; None for other configs.

    No model is built.
    """
    text = config.get_text_config()
    sizes = [getattr(text, name, None) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")]
    if any(size is None for size in sizes):
        return None
    layers, hidden, mlp = (int(size) for size in sizes if size is not None)
    return layers * hidden * (4 * hidden + 3 * mlp) + 2 * int(text.vocab_size) * hidden


class _FakeStream:
    """A `contracts.WeightStream` of a fake tensor for every name that the meta-device model expects."""

    def __init__(self, meta_model: nn.Module, stored_dtype: torch.dtype) -> None:
        self._shapes = {name: (tuple(t.shape), t.dtype) for name, t in expected_tensors(meta_model).items()}
        self._stored_dtype = stored_dtype

    def names(self) -> list[str]:
        return list(self._shapes)

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, (shape, dtype) in self._shapes.items():
            stored = self._stored_dtype if dtype.is_floating_point else dtype
            yield name, torch.empty(shape, dtype=stored, device="cpu")
