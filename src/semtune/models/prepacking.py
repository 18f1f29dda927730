"""Frozen weights laid out for this machine's products, where memory allows (`nn.linear.PrepackedLinear`).

Training needs a layout for each direction, so the weights need twice their bytes; where that is a small share of the
machine's memory, products become 15 to 20% faster. Elsewhere the plain weights stay: same results to the bit.
"""

from __future__ import annotations

from torch import nn

from semtune.models.architectures import linears_of
from semtune.nn.linear import as_linear_layer

MEMORY_SHARE = 0.05
"""Largest share of the machine's memory for the second copy of the weights, unless the user asks for prepacking."""


def prepack_frozen(model: nn.Module, prepack: bool | None, *, backward: bool, memory_bytes: int) -> int:
    """Replace the decoder's frozen linear layers that can be prepacked; how many were replaced.

    Biases stay the same parameters, trained or not.

    Args:
        prepack: None: where no backward follows, or the second copy needs at most `MEMORY_SHARE` of the memory.
        memory_bytes: memory of the machine, or the limit of its container.
        backward: whether gradients flow through the layers.
    """
    paths = [path for path, module in linears_of(model).items() if as_linear_layer(module).can_prepack]
    copy_bytes = sum(as_linear_layer(model.get_submodule(path)).weight_bytes for path in paths)
    if prepack is None:
        prepack = not backward or would_prepack(copy_bytes, memory_bytes)
    if not prepack:
        return 0
    for path in paths:  # no reference to a plain layer outlives its replacement, so only one is resident twice
        _prepack(model, path, backward=backward)
    return len(paths)


def _prepack(model: nn.Module, path: str, *, backward: bool) -> None:
    module = model.get_submodule(path)
    prepacked = as_linear_layer(module).prepack(backward=backward)
    assert prepacked is not None, "can_prepack and prepack disagree"
    model.set_submodule(path, prepacked.train(module.training))


def would_prepack(frozen_bytes: int, memory_bytes: int) -> bool:
    """Whether training copies that many bytes of frozen weights a second time where the user did not decide it."""
    return frozen_bytes <= MEMORY_SHARE * memory_bytes
