"""What differs between architectures, as data, so that a new one needs no branch elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from semtune.nn.linear import NF4Linear, PackedLinear


@dataclass(frozen=True, slots=True)
class Family:
    """What semtune must know of an architecture beyond what transformers says. The defaults fit Llama-like decoders."""

    block_classes: tuple[str, ...] | None = None
    """Class names of the decoder's blocks; None: what transformers declares as blocks that are never split."""
    ragged: bool = True
    """Whether texts laid end to end without padding can run through it."""
    known_blocks: bool = False
    """Whether its blocks are those that `models.decoder` writes out; others run through transformers' own forward."""
    head_norms: bool = False
    """Whether queries and keys are normed head by head."""
    window_of_config: bool = False
    """Whether every layer has the config's sliding window, instead of one of its own."""
    excluded_linears: tuple[str, ...] = ()
    """Last path components of linear layers that neither carry adapters nor are quantised (a mixture's router)."""


DEFAULT_FAMILY = Family()

FAMILIES: dict[str, Family] = {
    "llama": Family(known_blocks=True),
    "mistral": Family(known_blocks=True, window_of_config=True),
    "qwen2": Family(known_blocks=True),
    "qwen3": Family(known_blocks=True, head_norms=True),
    "mixtral": Family(excluded_linears=("gate",)),
    "mamba": Family(ragged=False),
    "mamba2": Family(ragged=False),
}
"""By `config.model_type`, only where something differs from the default."""


def family_of(model: nn.Module) -> Family:
    """The family of a transformers model."""
    config = getattr(model, "config", None)
    return FAMILIES.get(getattr(config, "model_type", ""), DEFAULT_FAMILY)


def decoder_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer, frozen kinds included, inside the decoder's blocks, by module path, in the model's order."""
    family = family_of(model)
    block_classes = family.block_classes or tuple(getattr(model, "_no_split_modules", None) or ())
    found: dict[str, nn.Module] = {}
    for path, block in model.named_modules():
        if type(block).__name__ not in block_classes:
            continue
        for inner, module in block.named_modules(prefix=path):
            if (
                isinstance(module, (nn.Linear, NF4Linear, PackedLinear))
                and inner.split(".")[-1] not in family.excluded_linears
            ):
                found[inner] = module
    return found
