"""Which number formats this machine multiplies natively.

It stands on this floor because both `models` (which precision "auto" means) and `measure` (what `doctor` says) ask,
and rooms on one floor do not import each other. torch is imported only for CUDA questions.
"""

from __future__ import annotations

import functools
from pathlib import Path

_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The processor's feature flags as the Linux kernel names them; empty on other systems."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86 and ARM
            return frozenset(value.split())
    return frozenset()


@functools.cache
def native_bf16(device_type: str = "cpu") -> bool:
    """Whether bf16 products run in hardware on "cpu" or "cuda" here.

    On a CPU without them bf16 products are emulated through fp32 and slower than fp32 itself; unknown counts as no.
    """
    if device_type == "cuda":
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return bool(cpu_flags() & _CPU_BF16_FLAGS)
