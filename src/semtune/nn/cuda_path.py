"""Selects between the CPU's and CUDA's code path.

Fused CUDA kernels and CPU loops need different algorithms, so several functions of `nn` depend on a tensor's device. A
CPU-only build of torch cannot run autograd on fake tensors of device "cuda" (the process ends with "PyTorch is not
linked with support for cuda devices", torch 2.13), so code that studies the CUDA path there uses tensors of device
"cpu" inside `assume_cuda()`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor

_assumed = False


def on_cuda(x: Tensor) -> bool:
    """Whether functions of `x` take the CUDA code path."""
    return x.is_cuda or _assumed


@contextlib.contextmanager
def assume_cuda(assumed: bool = True) -> Iterator[None]:
    """Select the CUDA code path inside for tensors of any device. Process-wide; not for several threads at once."""
    global _assumed
    before, _assumed = _assumed, assumed
    try:
        yield
    finally:
        _assumed = before
