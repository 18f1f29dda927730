"""Phase peaks, measured on real processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from semtune.measure import memory
from semtune.measure.memory import PhaseMeter, resident_bytes

MB = 1 << 20

SCRIPT = """
import json, sys
from semtune.measure import memory
if sys.argv[1] == "sampled":
    memory.kernel_mark_works = lambda: False
assert "torch" not in sys.modules, "measuring must not import torch"

def touched(megabytes):
    block = bytearray(megabytes << 20)
    block[::4096] = b"x" * len(block[::4096])
    __import__("time").sleep(0.05)
    return block

meter = memory.PhaseMeter()
with meter.phase("load"):
    block = touched(300)
    del block
with meter.phase("train"):
    small = touched(50)
    with meter.phase("evaluate"):
        block = touched(150)
        del block
    del small
with meter.phase("train"):
    pass
print(json.dumps({"runtime": meter.runtime_bytes, **meter.peak_bytes}))
"""


@pytest.mark.parametrize("way", ["kernel", "sampled"])
def test_each_phase_has_its_own_peak(way: str) -> None:
    if way == "kernel" and not memory.kernel_mark_works():
        pytest.skip("this system keeps no high-water mark that can be reset")
    done = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    above = {name: peaks[name] - peaks["runtime"] for name in ("load", "train", "evaluate")}
    # A megabyte of slack: the kernel's counters lag by some pages, and the runtime itself may shrink a little.
    assert peaks["load"] >= 300 * MB
    assert 299 * MB <= above["load"] < 400 * MB
    assert 199 * MB <= above["evaluate"] < 260 * MB  # what train holds meanwhile is resident too
    assert 49 * MB <= above["train"] < 100 * MB  # neither load's peak nor evaluate's


def test_a_phase_that_fails_is_measured_and_closed() -> None:
    meter = PhaseMeter()
    with pytest.raises(ValueError, match="no"), meter.phase("train"):
        raise ValueError("no")
    assert meter.peak_bytes["train"] >= meter.runtime_bytes // 2
    with meter.phase("load"):
        pass
    assert set(meter.peak_bytes) == {"train", "load"}
    assert meter.reserved_bytes == {}


def test_resident_bytes_see_memory_that_is_touched() -> None:
    before = resident_bytes()
    block = b"x" * (64 * MB)
    assert resident_bytes() - before > 60 * MB
    assert len(block) == 64 * MB


@pytest.mark.gpu
def test_gpu_peaks() -> None:
    import torch

    meter = PhaseMeter("cuda")
    with meter.phase("train"):
        block = torch.zeros(100 * MB, dtype=torch.uint8, device="cuda")
        del block
    with meter.phase("evaluate"):
        pass
    assert meter.peak_bytes["train"] >= 100 * MB
    assert meter.peak_bytes["evaluate"] < 100 * MB
    assert meter.reserved_bytes["train"] >= meter.peak_bytes["train"]
