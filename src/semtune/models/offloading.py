"""Which frozen weights wait in main memory when a GPU is too small for all (`nn.streamed`)."""

from __future__ import annotations

from torch import Tensor, nn

from semtune.models.architectures import linears_of


def offloaded_paths(model: nn.Module, offload_bytes: int, item_bytes: int) -> list[str]:
    """The decoder's linear layers that wait outside, the last ones first, until they hold `offload_bytes`.

    Args:
        model: may be on the meta device.
        item_bytes: of one number of a weight.
    """
    chosen: list[str] = []
    held = 0
    for path, module in reversed(linears_of(model).items()):
        if held >= offload_bytes:
            break
        weight = module.weight
        assert isinstance(weight, Tensor)
        held += weight.numel() * item_bytes
        chosen.append(path)
    return chosen
