"""The compiled loops for 64-bit ARM, cross-compiled and run one call at a time under qemu's user-mode emulation.

Debian: `apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user`. It says nothing of speed.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semtune.nn import kernels

from ..conftest import REPOSITORY

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
SYSROOT = "/usr/aarch64-linux-gnu"
MISSING = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
"""Programs that this machine lacks."""
_FLAGS = ["-O3", "-std=gnu11", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
_INTEGERS = 32
"""Integer arguments of `emulated_call.c`."""


class Emulated:
    """Builds the library and the program that calls it in `folder`; `run` stands in for `kernels.run`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library, self._program = folder / "loops.so", folder / "call"
        sources = sorted((REPOSITORY / "src/semtune/nn/kernels").glob("*.c"))
        objects = []
        for element, macros in (("bf16", []), ("fp32", ["-DELEMENT_FP32=1"])):
            for source in sources:
                if source.stem == "version":
                    continue
                file = folder / f"{source.stem}-{element}.o"
                _compile([*_FLAGS, *macros, f"-DSUFFIX=_{element}_base", "-c", str(source), "-o", str(file)])
                objects.append(str(file))
        _compile(["-shared", "-fopenmp", *objects, "-o", str(self._library), "-lm"])
        _compile([str(Path(__file__).with_name("emulated_call.c")), "-O1", "-o", str(self._program), "-ldl"])

    def run(self, name: str, *arguments: Any) -> None:
        """Call a loop on the emulated processor, with one thread; tensors are changed in place as by the loop."""
        dtype: torch.dtype = arguments[0].dtype
        symbol = f"semtune_{name}_{'bf16' if dtype == torch.bfloat16 else 'fp32'}_base"
        buffers: list[tuple[int, int]] = []  # address and size in bytes
        integers: list[tuple[int, int]] = []
        floats: list[float] = []
        for letter, argument in zip(kernels._SIGNATURES[name], (*arguments, 1), strict=True):
            if letter == "f":
                floats.append(float(argument))
            elif letter == "p" and argument is not None:
                integers.append(_pointer(argument, buffers))
            else:
                integers.append((-1, int(argument or 0)))
        assert len(integers) <= _INTEGERS
        numbers = [symbol, len(buffers), len(integers), len(floats), *(size for _, size in buffers)]
        words = [*map(str, numbers), *(f"{a} {b}" for a, b in integers), *(value.hex() for value in floats)]
        content = b"".join(ctypes.string_at(address, size) for address, size in buffers)
        file = self._folder / "call.bin"
        header = (" ".join(words) + "\n").encode()
        file.write_bytes(header + content)
        subprocess.run([EMULATOR, "-L", SYSROOT, str(self._program), str(self._library), str(file)], check=True)
        answer = file.read_bytes()[len(header) :]
        start = 0
        for address, size in buffers:
            ctypes.memmove(address, answer[start : start + size], size)
            start += size


def _compile(arguments: list[str]) -> None:
    subprocess.run([COMPILER, *arguments], check=True)


def _pointer(argument: Any, buffers: list[tuple[int, int]]) -> tuple[int, int]:
    """(index into `buffers`, offset in bytes) of an argument; its memory is added where it is new."""
    if isinstance(argument, Tensor):
        storage = argument.untyped_storage()
        memory, offset = (storage.data_ptr(), storage.nbytes()), argument.data_ptr() - storage.data_ptr()
    elif isinstance(argument, int):
        return -1, argument
    else:
        memory, offset = (ctypes.addressof(argument), ctypes.sizeof(argument)), 0
    if memory not in buffers:
        buffers.append(memory)
    return buffers.index(memory), offset
