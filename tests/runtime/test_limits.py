"""A run that cannot fit fails by itself, and is recognised."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import torch

from semtune.errors import OutOfMemoryError
from semtune.runtime.limits import is_out_of_memory

SCRIPT = """
import torch
torch.set_num_threads(1)
from semtune.runtime.limits import is_out_of_memory, limit_memory
from semtune.measure.memory import resident_bytes
assert limit_memory(resident_bytes() + (400 << 20))
fits = torch.zeros(100 << 20, dtype=torch.uint8)
try:
    torch.zeros(2 << 30, dtype=torch.uint8)
except RuntimeError as error:
    assert is_out_of_memory(error), error
    print("torch")
try:
    bytearray(2 << 30)
except MemoryError as error:
    assert is_out_of_memory(error), error
    print("python")
assert not limit_memory(None)
torch.zeros(1 << 30, dtype=torch.uint8)
print("free")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds a process's data")
def test_an_allocation_beyond_the_limit_fails_as_out_of_memory() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["torch", "python", "free"], 0), done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("too much"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_ways_of_running_out_of_memory(error: BaseException) -> None:
    assert is_out_of_memory(error)
    outer = ValueError("while loading")
    outer.__cause__ = error
    assert is_out_of_memory(outer)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "No space"), ValueError("x")])
def test_other_errors(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)
