"""Frozen weights in the form that this machine multiplies fastest, where memory allows (`nn.linear.PrepackedLinear`).

Training needs a layout for each direction, so the weights take twice their bytes; on a machine where that is little of
its memory, products become 15 to 20% faster. Who has less memory keeps the plain weights: same results to the bit.
"""

from __future__ import annotations

from torch import nn

from semtune.models.architectures import linears_of
from semtune.nn.linear import NF4Linear, PrepackedLinear, can_prepack

MEMORY_SHARE = 0.05
"""Of the machine's memory, that a second copy of the weights may take without being asked for."""


def prepack_frozen(model: nn.Module, packed: bool | None, *, backward: bool, memory_bytes: int) -> int:
    """Replace the decoder's frozen bf16 linears by packed ones; how many were replaced.

    Args:
        packed: None: where a second copy of them takes at most `MEMORY_SHARE` of the machine's memory.
        memory_bytes: the machine's, or what its container allows.
        backward: whether gradients will flow through them.
    """
    found = {path: module for path, module in linears_of(model).items() if can_prepack(module)}
    extra_bytes = sum(2 * module.weight.numel() for module in found.values() if isinstance(module, nn.Linear))
    if packed is None:
        packed = not backward or would_prepack(extra_bytes, memory_bytes)
    if not packed:
        return 0
    for path, module in found.items():
        assert isinstance(module, nn.Linear)
        model.set_submodule(path, PrepackedLinear(module, backward=backward).train(module.training))
        # Whoever still holds the plain layer does not hold its bytes.
        module.weight = nn.Parameter(module.weight.new_empty(0), requires_grad=False)
    return len(found)


def would_prepack(frozen_bytes: int, memory_bytes: int) -> bool:
    """Whether that many bytes of frozen weights get a second copy without being asked for, before training."""
    return frozen_bytes <= MEMORY_SHARE * memory_bytes


def unpack_nf4(model: nn.Module) -> None:
    """Replace the decoder's 4-bit linears by plain ones with the same values in the compute dtype, one at a time."""
    for path, module in linears_of(model).items():
        if isinstance(module, NF4Linear):
            model.set_submodule(path, module.linear())
