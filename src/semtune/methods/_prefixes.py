"""Learned prefixes of a whole model: their options, their start, attaching. Their files: `_peft_prefix`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError, TargetError
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.learned_prefix import (
    AnyPrefix,
    EncodedPrefix,
    LearnedPrefix,
    PrefixEncoder,
)
from semtune.nn.linear import adapter_dtype
from semtune.records import MethodSettings
from semtune.records.declare import option
from semtune.records.options import MOST

START_EFFECT = "a prefix takes part of every query's attention weights, whatever its keys and values are"
MERGE_REFUSAL = (
    "A learned prefix adds keys and values to every attention layer, which no weight of the base model can hold; "
    "predict with the run as it is"
)
LONGEST = 4096
"""Most positions of a prefix: its start reads as many tokens in one forward."""
_COMMON_TOKENS = 5000
"""Token ids among which the words of a start are drawn: a byte-pair vocabulary is ordered by frequency (Lester et al.
2021, arXiv:2104.08691, draw from as many)."""
_RANDOM_STD = 0.02


@dataclass(frozen=True, slots=True)
class PrefixSettings(MethodSettings):
    """Options of methods that learn keys and values of every attention layer."""

    prefix_length: int = option(
        30, unit="positions", at_least=1, at_most=LONGEST, help="Learned keys and values of each attention head."
    )
    prefix_mlp_size: int = option(
        0, at_least=0, at_most=MOST,
        help="Bottleneck of the MLP that computes keys and values while training (512 in the paper) and is dropped "
        "after it; 0: they are trained directly.",
    )  # fmt: skip
    prefix_start: Literal["words", "random"] = option(
        "words",
        help="words: keys and values start as the base model's own for random common tokens in front of the text; "
        "random: as random numbers.",
    )


def attach_prefixes(
    loaded: LoadedModel, settings: PrefixSettings, beside: Callable[[nn.Module], None] = lambda attention: None
) -> None:
    """Freeze the whole model and give every attention layer a prefix.

    Args:
        beside: called with each attention in turn, to make what else its layer gets, without changing the model.

    Raises TargetError, OptionError before anything is changed.
    """
    attentions = loaded.attentions()
    if not attentions:
        raise TargetError("This model has no attention layer that reads a learned prefix; choose --method lora or full")
    if any(getattr(attention, "prefix", None) is not None for attention in attentions):
        raise OptionError("The model carries a prefix already; load the base model anew")
    make = _maker(loaded, settings)
    found: dict[nn.Module, AnyPrefix] = {}

    def add(attention: nn.Module, keys: Tensor, values: Tensor) -> None:
        found[attention] = make(keys, values)
        beside(attention)

    _on_keys_and_values(loaded, attentions, settings, add)
    loaded.model.requires_grad_(False)
    for attention, prefix in found.items():
        attention.prefix = prefix


def prefixes(model: nn.Module) -> dict[str, AnyPrefix]:
    """Every prefix of `model`, by module path, in the order of the layers."""
    return {path: module for path, module in model.named_modules() if isinstance(module, AnyPrefix)}


def prefix_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters of all prefixes, by their name in `model`."""
    return {
        f"{path}.{name}": parameter
        for path, prefix in prefixes(model).items()
        for name, parameter in prefix.named_parameters()
    }


def _maker(loaded: LoadedModel, settings: PrefixSettings) -> Callable[[Tensor, Tensor], AnyPrefix]:
    """A function that makes a layer's prefix from keys and values of the base model, in the order of the layers."""
    from semtune.models.architectures.fused import rotation_at  # imports transformers, which lists of options must not

    length, words = settings.prefix_length, settings.prefix_start == "words"
    rotation = rotation_at(loaded.model, length)
    encoder: PrefixEncoder | None = None
    if settings.prefix_mlp_size:
        encoder = PrefixEncoder(
            length,
            loaded.hidden_size,
            settings.prefix_mlp_size,
            dtype=adapter_dtype(loaded.compute_dtype),
            device=loaded.device,
        )
    std = _RANDOM_STD if encoder is None else 0.0
    owner = True

    def make(keys: Tensor, values: Tensor) -> AnyPrefix:
        nonlocal owner
        start = (keys, values) if words else (_drawn(keys, length, std), _drawn(values, length, std))
        if encoder is None:
            return LearnedPrefix(*start, rotation)
        prefix = EncodedPrefix(encoder, start, rotation, owner=owner, zero=words)
        owner = False
        return prefix

    return make


@torch.no_grad()
def _on_keys_and_values(
    loaded: LoadedModel,
    attentions: list[nn.Module],
    settings: PrefixSettings,
    receive: Callable[[nn.Module, Tensor, Tensor], None],
) -> None:
    """Hand each attention and its keys and values for random tokens, (kv_heads, tokens, head_dim), to `receive`.

    The tokens depend on torch's seed alone; there is one where numbers do not matter but shapes do. `receive` is called
    within the forward, layer by layer, because a plan extrapolates what goes through the layers once.

    Raises TargetError where a layer stores no keys and values.
    """
    count = settings.prefix_length if settings.prefix_start == "words" else 1
    vocabulary = loaded.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    # Python's generator, as a plan reads no tensor's values; the seed is a plain number.
    tokens = random.Random(torch.initial_seed()).choices(range(min(_COMMON_TOKENS, vocabulary)), k=count)
    cache = loaded.new_cache(1)
    missing = set(attentions)

    def keep(attention: nn.Module, *_: Any) -> None:
        layer: int = attention.layer_idx  # type: ignore[assignment]
        stored = cache.stored(layer) if isinstance(cache, KeyValueCache) else None
        if stored is not None and attention in missing:
            keys, values = (
                x[0, :, :count].to(adapter_dtype(loaded.compute_dtype), copy=True).contiguous() for x in stored
            )
            receive(attention, keys, values)
            missing.remove(attention)

    hooks = [attention.register_forward_hook(keep) for attention in attentions]
    training = loaded.model.training
    loaded.model.eval()
    try:
        loaded.hidden_states(*loaded.pack([tokens], cache))
    finally:
        loaded.model.train(training)
        for hook in hooks:
            hook.remove()
    if missing:
        raise TargetError(
            f"{len(missing)} of the attention layers of this model store no keys and values of their own, so they "
            "cannot have a learned prefix; choose --method lora or full"
        )


def _drawn(like: Tensor, length: int, std: float) -> Tensor:
    """Random numbers (kv_heads, length, head_dim) in the dtype of `like`; zeros for `std` 0.

    They are drawn on the CPU: the same seed then gives the same numbers on every device.
    """
    shape = (like.shape[0], length, like.shape[2])
    return (torch.randn(shape, dtype=like.dtype) * std).to(like.device) if std else like.new_zeros(shape)
