"""The compiled loops between matrix products, called through ctypes; absent where nothing could be compiled.

Each kernel serves one function, whose torch formula is its definition, its test's reference, and what runs where
`takes` says no: on a GPU, in other dtypes than bf16, on fake tensors, without a compiler, or with SEMTUNE_KERNELS=off.

Threads are OpenMP's, out of the library that torch has loaded already, so one pool serves both.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.machinery
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

P = ParamSpec("P")
T = TypeVar("T")

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, str] = {  # p: pointer, i: int64, f: float, u: uint64, w: uint32
    "norm": "pppfpppiii",
    "norm_backward": "ppppppiii",
    "norm_weight": "ppppiii",
    "swiglu": "pppii",
    "swiglu_backward": "pppppii",
    "pack": "pppppppiiiii",
    "unpack": "pppppppiiiiiii",
    "causal_softmax": "pppfiiiii",
    "attention": "ppppppppppppfiiiiiiiii",
    "attention_backward": "pppppppppppppppfiiiiiiiii",
    "dropout": "ppiuwi",
    "add_kept": "ppiuwi",
    "low_rank": "ppppppfuwiiiiii",
    "low_rank_backward": "pppppppppfuwiiiiii",
    "cross_entropy": "pppiiii",
    "nf4_dequantize": "pppfpppii",
    "adamw": "ppppppffffffffii",
    "adamw_8bit": "ppppppppppppppffffffffii",
    "square_sum": "ppii",
    "argmax": "ppiii",
    "scale_columns": "ppiii",
    "scale_columns_backward": "pppppiii",
}
_TYPES = {"p": _POINTER, "i": _INT, "f": _FLOAT, "u": ctypes.c_uint64, "w": ctypes.c_uint32}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are none. To be called after torch is imported."""
    if os.environ.get("SEMTUNE_KERNELS", "").lower() in ("off", "0"):
        return None
    folder = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = folder / f"_compiled{suffix}"
        if file.exists():
            break
    else:
        return None
    try:
        loaded = ctypes.CDLL(str(file))
        for name, letters in _SIGNATURES.items():
            function = getattr(loaded, f"semtune_{name}")
            function.argtypes, function.restype = [_TYPES[letter] for letter in letters], None
    except (OSError, AttributeError):  # built for another system, or by another version
        return None
    return loaded


class World:
    """Where tensors live: this machine's memory, or one that a plan imagines, in which they have sizes and no bytes."""

    def __init__(
        self,
        on_call: Callable[[str, tuple[Any, ...]], None] | None = None,
        on_routine: Callable[[Callable[..., Any], tuple[Any, ...]], Any] | None = None,
        *,
        gpu: bool = False,
    ) -> None:
        self.on_call = on_call
        """Told of each kernel that would have run, with its arguments."""
        self.on_routine = on_routine
        """Given each `routine` and its arguments, and answers for it."""
        self.gpu = gpu
        """Whether its tensors, which say that they are in main memory, stand for a GPU's."""


REAL = World()
_world = REAL


def world() -> World:
    """The one that is being worked in."""
    return _world


@contextlib.contextmanager
def imagined(world: World) -> Iterator[World]:
    """Inside, fake tensors go the ways that real ones would go in `world`, and the kernels do nothing.

    So a step on fake tensors asks for the same memory as the real one. Not for several threads at once. (They say that
    they are in main memory in a GPU's world too: a torch that was built without CUDA cannot make fake ones of those.)
    """
    global _world
    before, _world = _world, world
    try:
        yield _world
    finally:
        _world = before


def holds(x: Tensor) -> bool:
    """Whether the memory of `x` can be written by a kernel: a real tensor's, or a fake one's in an imagined world."""
    return type(x) in _REAL or (_world is not REAL and not _world.gpu and isinstance(x, FakeTensor))


def on_gpu(x: Tensor) -> bool:
    """Whether `x` is on a GPU, or stands for a tensor that is."""
    return x.is_cuda or _world.gpu


def rounds(whole: range) -> range:
    """All of a loop's rounds; in an imagined world the first two, if each takes the memory of the one before."""
    return whole if _world is REAL else whole[:2]


def routine(function: Callable[P, T]) -> Callable[P, T]:
    """Marks `function`: its operations depend on its arguments' shapes and plain values, its results are new tensors.

    So a world in which tensors have no values need not go through it again for arguments of the same shapes.
    """

    @functools.wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> T:
        if _world.on_routine is None or named:
            return function(*arguments, **named)
        answered: T = _world.on_routine(function, arguments)
        return answered

    return called


def takes(*tensors: Tensor | None) -> bool:
    """Whether the kernels can run on these: bf16 in main memory, contiguous, real (a fake tensor has no bytes)."""
    if library() is None:
        return False
    return all(
        x is None or (x.dtype == torch.bfloat16 and x.device.type == "cpu" and holds(x) and x.is_contiguous())
        for x in tensors
    )


def call(name: str, *arguments: Any) -> None:
    """Run a kernel; tensors are passed as their addresses, torch's number of threads is added last."""
    if _world.on_call is not None:
        _world.on_call(name, arguments)
        return
    loaded = library()
    assert loaded is not None, "ask takes() first"
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    getattr(loaded, f"semtune_{name}")(*plain, torch.get_num_threads())


_REAL = (Tensor, nn.Parameter)
