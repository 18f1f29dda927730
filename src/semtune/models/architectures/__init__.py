"""Architectures, one file each: the blocks, caches and forwards of model types (`contracts.Architecture`).

`stock`: transformers' own forward with semtune's attention function, for every type without an entry of its own.
`fused`: Llama-like blocks whose elementwise steps are fused. `recurrent`: a base class for models that carry a state.
"""

from __future__ import annotations

from torch import nn

from semtune.contracts import Architecture
from semtune.nn.linear import use_panels
from semtune.registry import ARCHITECTURES


def architecture_of(model: nn.Module) -> Architecture:
    """The registered architecture of a transformers model, by its config's `model_type`; `stock.STOCK` by default."""
    from semtune.models.architectures.stock import STOCK

    model_type = getattr(getattr(model, "config", None), "model_type", "")
    architecture: Architecture = ARCHITECTURES.get(model_type) if model_type in ARCHITECTURES else STOCK
    return architecture


def install(model: nn.Module) -> None:
    """Make a transformers model ready for packed batches, in place. Raises ModelError where that is not supported."""
    from semtune.models.architectures.panel_conv1d import use_conv1d_panels

    architecture_of(model).install(model)
    use_panels(model)
    use_conv1d_panels(model)


def linears_of(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers inside the decoder's blocks, frozen kinds included, by module path, in the model's order."""
    return architecture_of(model).linears(model)
