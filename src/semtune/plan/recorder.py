r"""What a step on fake tensors would allocate, multiply and move: one line of history per operation.

Fake tensors (torch.\_subclasses.fake_tensor) have shapes and no bytes. A dispatch mode sees every operation below
autograd, the ones of backward and optimizer included; a storage counts from the operation that returned it to the
moment when Python lets go of it, as in a real run. What an operation allocates and frees inside itself is not seen;
`overhead` knows the parts of it that matter.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from semtune.nn import kernels

_READS_A_NUMBER = torch.ops.aten._local_scalar_dense.default
_UNPACK = {"nf4_dequantize": 1, "adamw_8bit": 20}
"""Kernels that turn codes into numbers, and how much slower than the first they go through a byte."""
_LOW_RANK = {"low_rank": 1, "low_rank_backward": 2}
"""Kernels of `nn.low_rank_products`, and how often each goes through a pair of products."""


Routines = dict[tuple[Any, ...], "_Known"]
"""What is known of `kernels.routine` functions, by function and likeness of the arguments."""


@dataclass
class Section:
    """A stretch of a run whose operations are the same at every depth but for the layers in between."""

    name: str
    operations: list[str] = field(default_factory=list)
    """What was done, in order; the lists below are as long."""
    live_bytes: list[int] = field(default_factory=list)
    """After each operation."""
    product_flops: list[float] = field(default_factory=list)
    """Of each operation; 0 where it is no matrix product."""
    loop_flops: list[float] = field(default_factory=list)
    """Of low-rank products in compiled loops."""
    moved_bytes: list[int] = field(default_factory=list)
    """Read and written by each operation that is no matrix product."""
    unpacked_bytes: list[int] = field(default_factory=list)
    """Of weights made from 4 bits by each operation."""

    def since(self, start: int, live_bytes: int) -> Section:
        """What was done from operation `start` on, its live bytes beyond `live_bytes`."""
        return Section(
            self.name,
            self.operations[start:],
            [live - live_bytes for live in self.live_bytes[start:]],
            self.product_flops[start:],
            self.loop_flops[start:],
            self.moved_bytes[start:],
            self.unpacked_bytes[start:],
        )

    def extend(self, more: Section, live_bytes: int) -> None:
        """`more`, of `since`, once again on top of `live_bytes`."""
        self.operations += more.operations
        self.live_bytes += [live_bytes + live for live in more.live_bytes]
        self.product_flops += more.product_flops
        self.loop_flops += more.loop_flops
        self.moved_bytes += more.moved_bytes
        self.unpacked_bytes += more.unpacked_bytes


@dataclass
class _Made:
    """A new tensor."""

    numel: int
    """Of its storage."""
    dtype: torch.dtype
    view: tuple[torch.Size, tuple[int, ...], int]
    """Shape, strides and offset in the storage."""

    @classmethod
    def like(cls, x: Tensor) -> _Made:
        numel = x.untyped_storage().nbytes() // x.element_size()
        return cls(numel, x.dtype, (x.shape, x.stride(), int(x.storage_offset())))

    def again(self) -> Tensor:
        return torch.empty(self.numel, dtype=self.dtype).as_strided(*self.view)


@dataclass
class _Known:
    """A routine that has been gone through."""

    done: Section
    made: tuple[_Made, ...]
    alone: bool
    """Whether it returned a tensor rather than a tuple of them."""


class Recorder:
    """Collects `sections` while `recording`.

    Args:
        round_to: what the device's allocator rounds a tensor's bytes up to.
        gpu: tensors go a GPU's ways.
        routines: what is known of `kernels.routine` functions, to be shared by recorders with the same `round_to`.
    """

    def __init__(self, round_to: int = 64, *, gpu: bool = False, routines: Routines | None = None) -> None:
        self.sections: list[Section] = []
        self._round_to, self._gpu = round_to, gpu
        self._routines: Routines = {} if routines is None else routines
        self._live = 0
        self._known: set[int] = set()
        """Addresses of the storages that are counted."""
        self._current: Section | None = None

    @property
    def live_bytes(self) -> int:
        """Of all storages that are alive."""
        return self._live

    @contextlib.contextmanager
    def recording(self, *, fake: bool = True) -> Iterator[None]:
        """Inside, all tensors are fake, and what is done to them is recorded.

        Real ones where not `fake`: to check a plan against what the same step holds.
        """
        from torch._subclasses.fake_tensor import FakeTensorMode

        if not fake:
            with _Watch(self, answers=False), _Marks(self, answers=False):
                yield
            return
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            kernels.imagined(kernels.World(self._on_kernel, self._on_routine, gpu=self._gpu)),
            _Watch(self),
            _Marks(self),
        ):
            yield

    def begin(self, name: str) -> None:
        """From here on operations belong to a new section."""
        self._current = Section(name)
        self.sections.append(self._current)
        self._note("begin")

    def on_operation(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """After each operation."""
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        for x in outputs:
            self._hold(x)
        if self._current is None or all(x.device.type == "meta" for x in outputs):
            return
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self._note(str(func), flops=float(count(*args, **kwargs, out_val=out)))
            return
        if _is_view(func):
            return
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self._note(str(func), moved=sum(_bytes_of(x) for x in (*inputs, *outputs)))

    def _on_kernel(self, name: str, arguments: tuple[Any, ...]) -> None:
        moved = sum(_bytes_of(x) for x in arguments if isinstance(x, Tensor))
        if name in _UNPACK:
            self._note(name, unpacked=_UNPACK[name] * moved)
        elif name in _LOW_RANK:
            rows, a, b = arguments[:3]  # (tokens, in), (r, in), (out, r)
            self._note(name, loop=_LOW_RANK[name] * 2.0 * len(rows) * (a.numel() + b.numel()))
        else:
            self._note(name, moved=moved)

    def _on_routine(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        section = self._current
        if section is None:
            return function(*arguments)
        key = (function, *(_likeness(x) for x in arguments))
        known = self._routines.get(key)
        if known is None:
            start, live = len(section.operations), self._live
            out = function(*arguments)
            made = tuple(_Made.like(x) for x in tree_leaves(out) if x is not None)
            self._routines[key] = _Known(section.since(start, live), made, isinstance(out, Tensor))
            return out
        section.extend(known.done, self._live)
        self._current = None  # the making of its results is among its operations already
        results = tuple(made.again() for made in known.made)
        self._current = section
        return results[0] if known.alone else results or None

    def _note(
        self, operation: str, *, flops: float = 0.0, loop: float = 0.0, moved: int = 0, unpacked: int = 0
    ) -> None:
        section = self._current
        if section is None:
            return
        section.operations.append(operation)
        section.live_bytes.append(self._live)
        section.product_flops.append(flops)
        section.loop_flops.append(loop)
        section.moved_bytes.append(moved)
        section.unpacked_bytes.append(unpacked)

    def _hold(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        address = storage._cdata
        if x.device.type == "meta" or address in self._known:
            return
        self._known.add(address)
        size = -(-storage.nbytes() // self._round_to) * self._round_to
        self._live += size
        weakref.finalize(storage, self._release, address, size).atexit = False

    def _release(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._live -= size


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows every operation to the recorder, and answers the few that ask for a fake tensor's value."""

    def __init__(self, recorder: Recorder, *, answers: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder, self._answers = recorder, answers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._answers and func is _READS_A_NUMBER:
            # a loss that is finite, a token that is not end-of-sequence: the step goes on
            return 0.0 if args[0].dtype.is_floating_point else 0
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self._recorder.on_operation(func, args, kwargs, out)
        return out


class _Marks(TorchFunctionMode):
    """Begins a section at each backward and after it; gives arrays of zeros where numpy is asked for."""

    def __init__(self, recorder: Recorder, *, answers: bool = True) -> None:
        super().__init__()
        self._recorder, self._answers = recorder, answers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._answers and func is Tensor.numpy:
            import numpy as np

            return np.zeros(tuple(args[0].shape))
        backward: Any = Tensor.backward
        if func is not backward:
            return func(*args, **kwargs)
        self._recorder.begin("backward")
        out = func(*args, **kwargs)
        self._recorder.begin("collect")
        return out


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _bytes_of(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _likeness(argument: Any) -> Any:
    """All that a routine's operations may depend on."""
    if isinstance(argument, Tensor):
        return argument.shape, argument.stride(), argument.dtype
    return argument
