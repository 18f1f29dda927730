"""Memory that a step frees stays for the next one, and goes back afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from semtune.runtime.malloc import _glibc, freed_memory_kept

PROGRAM = """
import torch
from semtune.runtime.malloc import freed_memory_kept
def step():
    held = [torch.ones(1 << 20) for _ in range(60)]  # 4 MB each
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.empty(30 << 20, dtype=torch.uint8)  # the allocator's own threshold has grown, as after loading a model
with freed_memory_kept():
    before = resident()
    step()
    inside = resident()
print(inside - before, inside - resident())
"""


def run() -> tuple[int, int]:
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, given_back = out.stdout.split()
    return int(held), int(given_back)


@pytest.mark.skipif(_glibc() is None or not Path("/proc/self/statm").exists(), reason="needs glibc on Linux")
def test_freed_memory_stays_and_is_then_given_back() -> None:
    """240 MB that a step needed: still there after it, and gone when the block is left."""
    held, given_back = run()
    assert held > 150e6 and given_back > 150e6


def test_options_are_set_inside_and_put_back_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the block fails. What the allocator does by itself varies too much to be compared with."""

    class Recorder:
        calls: ClassVar[list[tuple[int, ...]]] = []

        def mallopt(self, option: int, value: int) -> None:
            self.calls.append((option, value))

        def malloc_trim(self, pad: int) -> None:
            self.calls.append((pad,))

    libc = Recorder()
    monkeypatch.setattr("semtune.runtime.malloc._glibc", lambda: libc)
    with pytest.raises(KeyError), freed_memory_kept():
        assert dict(libc.calls)[-1] > 10**9  # mallopt's M_TRIM_THRESHOLD
        libc.calls.clear()
        raise KeyError
    assert dict(libc.calls[:-1])[-1] == 64 << 20
    assert libc.calls[-1] == (0,)


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.runtime.malloc._glibc", lambda: None)
    with freed_memory_kept():
        pass
