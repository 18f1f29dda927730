"""Loops over large parameters, a chunk at a time, for the operators that update them by a formula."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from semtune.nn.cuda_path import on_cuda
from semtune.training.masters import ParameterState

_CHUNK, _CHUNK_CUDA = 1 << 20, 1 << 22


def chunk_numel(like: Tensor) -> int:
    """Elements that are handled at a time on the device of `like`."""
    return _CHUNK_CUDA if on_cuda(like) else _CHUNK


def chunks(numel: int, like: Tensor, multiple: int = 1) -> Iterator[slice]:
    """Slices that cover `numel` elements, each but the last a multiple of `multiple` (a row's elements) long.

    Temporary tensors of one chunk are small beside a large parameter, and stay in a CPU's cache.
    """
    size = max(1, chunk_numel(like) // multiple) * multiple
    for start in range(0, numel, size):
        yield slice(start, min(start + size, numel))


def masters_of(weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None) -> ParameterState:
    """The master weights of an operator's arguments, to be read and written chunk by chunk."""
    state = ParameterState(nn.Parameter(weight, requires_grad=False), master=False)
    state.residual_bits, state.master_copy = residual_bits, master_copy
    return state
