"""Which number formats this machine multiplies in hardware.

`models` chooses the compute dtype by it and `measure` reports it. torch is imported only to ask about CUDA.
"""

from __future__ import annotations

import functools
from pathlib import Path

_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Feature flags in /proc/cpuinfo, two of x86 and two of ARM."""


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
    """Whether this machine's "cpu" or "cuda" device multiplies bf16 in hardware.

    A CPU without such instructions emulates bf16 products through fp32, slower than fp32 itself. Where the flags cannot
    be read the answer is False. A GPU has them from compute capability 8.0 (Ampere) on.
    """
    if device_type == "cuda":
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return bool(cpu_flags() & _CPU_BF16_FLAGS)
