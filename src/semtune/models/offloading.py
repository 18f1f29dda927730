"""Which frozen weights are offloaded to main memory when a GPU is too small for all (`nn.offloaded`)."""

from __future__ import annotations

import torch
from torch import nn

from semtune.models.architectures import linears_of
from semtune.nn.linear import as_linear_layer
from semtune.nn.offloaded import OffloadedLinear


def offloaded_paths(model: nn.Module, offload_bytes: int, item_bytes: int) -> list[str]:
    """Paths of the decoder's linear layers to offload: the last layers, until their weights have `offload_bytes`.

    Args:
        model: may be on the meta device.
        item_bytes: bytes of one element of a loaded weight.
    """
    chosen: list[str] = []
    chosen_bytes = 0
    for path, module in reversed(linears_of(model).items()):
        if chosen_bytes >= offload_bytes:
            break
        chosen_bytes += as_linear_layer(module).weight_numel * item_bytes
        chosen.append(path)
    return chosen


def offload(model: nn.Module, path: str, device: torch.device) -> None:
    """Replace the plain linear layer at `path`, whose weight is in main memory, by an offloaded one."""
    linear = model.get_submodule(path)
    assert isinstance(linear, nn.Linear), "only plain weights are offloaded"
    model.set_submodule(path, OffloadedLinear(linear, device))
