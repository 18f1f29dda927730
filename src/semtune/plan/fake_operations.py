"""The commonest operations of torch on fake tensors, in a third of the time that `FakeTensorMode` takes for them.

The mode remembers what it has seen by a key of all arguments, and making the key takes longer than torch's own shape
functions where those are in C++. These operations need nothing else of the mode: their result is on their arguments'
device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

_aten = torch.ops.aten
DIRECT = frozenset({
    _aten.detach.default, _aten.mm.default, _aten.select.int, _aten.slice.Tensor, _aten.sum.dim_IntList,
    _aten.t.default, _aten.transpose.int, _aten.unsqueeze.default, _aten.view.default,
})  # fmt: skip
"""Half of a plan's operations. Each has one tensor as its result; those of elements are slower so, in Python."""


def directly(mode: FakeTensorMode, func: Any, args: Any, kwargs: Any) -> Any:
    """What `func` gives on fake tensors of one device; NotImplemented for all else, which is the mode's."""
    if func not in DIRECT or kwargs:
        return NotImplemented
    device = None
    for x in args:
        if isinstance(x, Tensor):
            if type(x) is not FakeTensor or x.constant is not None or device not in (None, x.fake_device):
                return NotImplemented
            device = x.fake_device
    if device is None:
        return NotImplemented
    with in_kernel_invocation_manager(mode):
        out = func(*args)
    return FakeTensor(mode, out, device)
