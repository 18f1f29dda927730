"""Memory that a step frees stays for the next one, and goes back afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semtune.measure.allocator import _glibc, freed_memory_kept

PROGRAM = """
import sys, torch
from semtune.measure.allocator import freed_memory_kept
from contextlib import nullcontext
def step():
    held = [torch.ones(1 << 20) for _ in range(60)]  # 4 MB each
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.empty(30 << 20, dtype=torch.uint8)  # the allocator's own threshold has grown, as after loading a model
with freed_memory_kept() if sys.argv[1] == "kept" else nullcontext():
    before = resident()
    step()
    inside = resident()
print(inside - before, inside - resident())
"""


def run(how: str) -> tuple[int, int]:
    out = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    held, given_back = out.stdout.split()
    return int(held), int(given_back)


@pytest.mark.skipif(_glibc() is None or not Path("/proc/self/statm").exists(), reason="needs glibc on Linux")
def test_freed_memory_stays_and_is_then_given_back() -> None:
    """240 MB that a step needed: still there after it, and gone when the block is left."""
    held, given_back = run("kept")
    assert held > 150e6 and given_back > 150e6
    held, _ = run("not")
    assert held < 100e6  # what this is for


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.measure.allocator._glibc", lambda: None)
    with freed_memory_kept():
        pass
