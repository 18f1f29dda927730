"""Loads the compiled loops, if they were built, and says which tensors they support.

Each loop is called by one registered operator (`kernels.operators` and its siblings). The torch formula beside the call
defines what the loop computes. It is the reference of the loop's test, and it runs where `supports` is False: on CUDA,
in dtypes other than bf16 and fp32, without a compiler, or with SEMTUNE_KERNELS=off. A library that was built from other
sources than those beside this file is not used: its loops may have other arguments.

The library has every loop for both dtypes and for every level of instructions; the processor's highest is used, or
SEMTUNE_ISA's. Threads come from the OpenMP library that torch has loaded, so both use one pool.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import itertools
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from semtune.errors import OptionError
from semtune.nn.cuda_path import on_cuda
from semtune.runtime.processor import instruction_level, usable_levels
from semtune.runtime.sources import C_SUFFIXES, sources_digest

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, str] = {  # p: pointer, i: int64, f: float, u: uint64, w: uint32
    "norm": "pppfpppiii",
    "norm_backward": "ppppppiii",
    "norm_weight": "ppppiii",
    "swiglu": "pppii",
    "swiglu_backward": "pppppii",
    "pad": "pppppppiiiii",
    "unpad": "pppppppiiiiiii",
    "causal_softmax": "pppfiiiii",
    "attention": "ppppppppppppfiiiiiiiii",
    "attention_backward": "pppppppppppppppfiiiiiiiii",
    "dropout": "ppiuwi",
    "add_kept": "ppiuwi",
    "low_rank": "ppppppfuwiiiiii",
    "low_rank_backward": "pppppppppfuwiiiiii",
    "cross_entropy": "pppiiii",
    "nf4_dequantize": "ppppfppii",
    "int4_dequantize": "ppppii",
    "adamw": "ppppppffffffffii",
    "adamw_8bit": "ppppppppppppppffffffffii",
    "square_sum": "ppii",
    "argmax": "ppiii",
    "scale_columns": "ppiii",
    "scale_columns_backward": "pppppppiii",
    "row_norms": "pppppfiiii",
    "row_scale": "pppii",
    "product": "pppiiiiiiiiii",
}
BF16_ONLY = frozenset({"adamw"})
"""Loops that have no fp32 variant."""
FP32_ONLY = frozenset({"product"})
"""Loops that have no bf16 variant."""
_SUFFIXES = {torch.bfloat16: "bf16", torch.float32: "fp32"}
_TYPES = {"p": _POINTER, "i": _INT, "f": _FLOAT, "u": ctypes.c_uint64, "w": ctypes.c_uint32}
_PLAIN_TENSORS = (Tensor, nn.Parameter, FakeTensor)
"""Other subclasses may store their elements elsewhere than at `data_ptr()`."""


VERSION_SYMBOL = "semtune_sources"
"""The library's function that returns `sources_digest` of the C sources that it was built from, as a C string."""
_LEVEL = instruction_level()
"""The level of instructions whose loops are called."""

KERNELS_VARIABLE = "SEMTUNE_KERNELS"
_SWITCH = {"": True, "on": True, "1": True, "off": False, "0": False}
"""Value of the variable -> whether the compiled loops are used."""

KernelState = Literal["compiled", "off", "missing", "stale"]
"""Whether the compiled loops are in use, and if not, why: switched off, not built, or built from other sources."""


def _symbol(name: str, dtype: torch.dtype, level: str) -> str:
    return f"semtune_{name}_{_SUFFIXES[dtype]}_{level}"


def _switched_off() -> bool:
    """Whether SEMTUNE_KERNELS switches the compiled loops off. Raises OptionError for a word that it does not know."""
    word = os.environ.get(KERNELS_VARIABLE, "").strip().lower()
    if word not in _SWITCH:
        raise OptionError(
            f"{KERNELS_VARIABLE}={word} is neither on nor off; write off to run without the compiled loops, or on."
        )
    return not _SWITCH[word]


def load_library(folder: Path) -> tuple[ctypes.CDLL | None, KernelState]:
    """The compiled library in `folder`, or None with the reason. Raises OptionError for an unknown SEMTUNE_KERNELS."""
    if _switched_off():
        return None, "off"
    files = [folder / f"_compiled{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return None, "missing"
    try:
        loaded = ctypes.CDLL(str(file))
        version = getattr(loaded, VERSION_SYMBOL)
        version.restype = ctypes.c_char_p
        if version().decode() != sources_digest(folder, suffixes=C_SUFFIXES):
            return None, "stale"
        for name, letters in _SIGNATURES.items():
            for dtype, level in itertools.product(_SUFFIXES, usable_levels()):
                if name not in (FP32_ONLY if dtype == torch.bfloat16 else BF16_ONLY):
                    function = getattr(loaded, _symbol(name, dtype, level))
                    function.argtypes, function.restype = [_TYPES[letter] for letter in letters], None
    except (OSError, AttributeError):  # built for another system, or by a version without the symbol
        return None, "stale"
    return loaded, "compiled"


_LIBRARY, _STATE = load_library(Path(__file__).parent)
_IS_LOADED = _LIBRARY is not None  # a plain constant, which torch.compile can trace through


def state() -> KernelState:
    """Whether the compiled loops are in use, and why not."""
    return _STATE


def library() -> ctypes.CDLL | None:
    """The shared library of all loops; None where it is missing, of another version, or switched off."""
    return _LIBRARY


def in_main_memory(x: Tensor) -> bool:
    """Whether `x` is a plain tensor on the CPU's code path, so that a compiled loop can read its elements."""
    return type(x) in _PLAIN_TENSORS and x.device.type == "cpu" and not on_cuda(x)


def supports(*tensors: Tensor | None) -> bool:
    """Whether the compiled loops can run on these tensors: bf16 or fp32, all of one dtype, contiguous, in main memory.

    None is ignored.
    """
    if not _IS_LOADED:
        return False
    given = [x for x in tensors if x is not None]
    dtype = given[0].dtype
    return dtype in _SUFFIXES and all(x.dtype == dtype and in_main_memory(x) and x.is_contiguous() for x in given)


@functools.cache
def _function(name: str, dtype: torch.dtype, level: str) -> Any:
    loaded = library()
    assert loaded is not None, "check supports() first"
    return getattr(loaded, _symbol(name, dtype, level))


def run(name: str, *arguments: Any) -> None:
    """Call a compiled loop with the addresses of tensors; torch's number of threads is the last argument.

    The first argument, a tensor, decides the element type.
    """
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    _function(name, arguments[0].dtype, _LEVEL)(*plain, torch.get_num_threads())
