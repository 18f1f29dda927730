"""What differs between architectures, as data, so that a new one needs no branch elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from semtune.nn.linear import is_linear_layer


@dataclass(frozen=True, slots=True)
class Architecture:
    """What semtune must know of an architecture beyond what transformers says. The defaults fit Llama-like decoders."""

    block_classes: tuple[str, ...] | None = None
    """Class names of the decoder's blocks; None: what transformers declares as blocks that are never split."""
    packed_batch: bool = True
    """Whether texts laid end to end without padding can run through it."""
    known_blocks: bool = False
    """Whether its blocks are those that `models.decoder` writes out; others run through transformers' own forward."""
    qk_norm: bool = False
    """Whether queries and keys are normed head by head."""
    window_of_config: bool = False
    """Whether every layer has the config's sliding window, instead of one of its own."""
    excluded_linears: tuple[str, ...] = ()
    """Last path components of linear layers that neither carry adapters nor are quantised (a mixture's router)."""


DEFAULT_ARCHITECTURE = Architecture()

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(known_blocks=True),
    "mistral": Architecture(known_blocks=True, window_of_config=True),
    "qwen2": Architecture(known_blocks=True),
    "qwen3": Architecture(known_blocks=True, qk_norm=True),
    "mixtral": Architecture(excluded_linears=("gate",)),
    "mamba": Architecture(packed_batch=False),
    "mamba2": Architecture(packed_batch=False),
}
"""By `config.model_type`, only where something differs from the default."""


def architecture_of(model: nn.Module) -> Architecture:
    """The family of a transformers model."""
    config = getattr(model, "config", None)
    return ARCHITECTURES.get(getattr(config, "model_type", ""), DEFAULT_ARCHITECTURE)


def decoder_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer, frozen kinds included, inside the decoder's blocks, by module path, in the model's order."""
    family = architecture_of(model)
    block_classes = family.block_classes or tuple(getattr(model, "_no_split_modules", None) or ())
    found: dict[str, nn.Module] = {}
    for path, block in model.named_modules():
        if type(block).__name__ not in block_classes:
            continue
        for inner, module in block.named_modules(prefix=path):
            if is_linear_layer(module) and inner.split(".")[-1] not in family.excluded_linears:
                found[inner] = module
    return found
