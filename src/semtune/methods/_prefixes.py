"""Learned prefixes of a whole model: their options, their start, attaching. Their files: `_peft_prefix`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError, TargetError
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.learned_prefix import (
    AnyPrefix,
    EncodedPrefix,
    KeysAndValues,
    LearnedPrefix,
    PrefixEncoder,
)
from semtune.records import MethodSettings
from semtune.records.declare import option
from semtune.records.options import MOST, MOST_TOKENS

START_EFFECT = "a prefix takes part of every query's attention weights, whatever its keys and values are"
MERGE_REFUSAL = (
    "A learned prefix adds keys and values to every attention layer, which no weight of the base model can hold; "
    "predict with the run as it is"
)
_COMMON_TOKENS = 5000
"""Token ids among which the words of a start are drawn: a byte-pair vocabulary is ordered by frequency (Lester et al.
2021, arXiv:2104.08691, draw from as many)."""
_RANDOM_STD = 0.02


@dataclass(frozen=True, slots=True)
class PrefixSettings(MethodSettings):
    """Options of methods that learn keys and values of every attention layer."""

    prefix_length: int = option(
        30, unit="positions", at_least=1, at_most=MOST_TOKENS, help="Learned keys and values of each attention head."
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


def attach_prefixes(loaded: LoadedModel, settings: PrefixSettings) -> None:
    """Freeze the whole model and give every attention layer a prefix.

    Raises TargetError, OptionError before anything is changed.
    """
    from semtune.models.architectures.fused import rotation_at  # imports transformers, which lists of options must not

    attentions = loaded.attentions()
    if not attentions:
        raise TargetError("This model has no attention layer that reads a learned prefix; choose --method lora or full")
    if any(getattr(attention, "prefix", None) is not None for attention in attentions):
        raise OptionError("The model carries a prefix already; load the base model anew")
    words = settings.prefix_start == "words"
    starts = _activations(loaded, attentions, settings.prefix_length if words else 1)
    encoded = settings.prefix_mlp_size > 0
    if not words:
        std = 0.0 if encoded else _RANDOM_STD
        starts = [(_drawn(k, settings.prefix_length, std), _drawn(v, settings.prefix_length, std)) for k, v in starts]
    rotation = rotation_at(loaded.model, settings.prefix_length)
    loaded.model.requires_grad_(False)
    if not encoded:
        for attention, start in zip(attentions, starts, strict=True):
            attention.prefix = LearnedPrefix(*start, rotation)
        return
    first = starts[0][0]
    encoder = PrefixEncoder(
        settings.prefix_length, loaded.hidden_size, settings.prefix_mlp_size, dtype=first.dtype, device=first.device
    )
    for i, (attention, start) in enumerate(zip(attentions, starts, strict=True)):
        attention.prefix = EncodedPrefix(encoder, start, rotation, owner=i == 0, zero=words)


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


@torch.no_grad()
def _activations(loaded: LoadedModel, attentions: list[nn.Module], count: int) -> list[KeysAndValues]:
    """Keys and values of each attention for `count` tokens, (kv_heads, count, head_dim), in the prefix's dtype.

    The tokens depend on torch's seed alone. Raises TargetError where a layer stores no keys and values.
    """
    vocabulary = loaded.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    # Python's generator, as a plan reads no tensor's values; the seed is a plain number.
    tokens = random.Random(torch.initial_seed()).choices(range(min(_COMMON_TOKENS, vocabulary)), k=count)
    cache = loaded.new_cache(1)
    ids, batch = loaded.pack([tokens], cache)
    training = loaded.model.training
    loaded.model.eval()
    loaded.hidden_states(ids, batch)
    loaded.model.train(training)
    dtype = torch.float64 if loaded.compute_dtype == torch.float64 else torch.float32
    found: list[KeysAndValues] = []
    for attention in attentions:
        layer: int = attention.layer_idx  # type: ignore[assignment]
        stored = cache.stored(layer) if isinstance(cache, KeyValueCache) else None
        if stored is None:
            raise TargetError(
                f"The attention layer {layer} of this model has no keys and values of its own, so it cannot have a "
                "learned prefix; choose --method lora or full"
            )
        keys, values = (x[0, :, :count].to(dtype, copy=True).contiguous() for x in stored)
        found.append((keys, values))
    return found


def _drawn(like: torch.Tensor, length: int, std: float) -> torch.Tensor:
    """Random numbers (kv_heads, length, head_dim) in the dtype of `like`; zeros for `std` 0.

    They are drawn on the CPU: the same seed then gives the same numbers on every device.
    """
    shape = (like.shape[0], length, like.shape[2])
    return (torch.randn(shape, dtype=like.dtype) * std).to(like.device) if std else like.new_zeros(shape)
