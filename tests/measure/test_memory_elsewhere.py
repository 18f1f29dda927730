"""Peak memory on systems without Linux's /proc, with a pretended `sys.platform`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semtune.measure import memory


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_nothing_is_written_to_proc_and_peaks_are_sampled(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    assert not memory.kernel_mark_works()
    meter = memory.PhaseMeter()
    with meter.phase("load"):
        block = bytearray(30_000_000)
        block[::4096] = b"x" * len(block[::4096])
    assert meter.peak_bytes["load"] >= meter.runtime_bytes > 0
    assert not (tmp_path / "clear_refs").exists()
