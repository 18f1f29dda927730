"""Which instructions this machine has: the level that the compiled loops use, and native bf16 products.

`models` chooses the compute dtype by it, `nn.kernels` the loops, and `measure` reports both. torch is imported only to
ask about CUDA.

SEMTUNE_ISA lowers the level, so that a newer processor can be tested and timed as an older one: "base", "avx2" or
"avx512". `limit_libraries` hands it on to torch, oneDNN and MKL.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from semtune.errors import OptionError

ISA_VARIABLE = "SEMTUNE_ISA"
LEVELS = ("base", "avx2", "avx512")
"""Levels of instructions, the lowest first; processors other than x86-64 have "base" alone."""

_LEVEL_FLAGS = {
    "avx2": frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}),
    "avx512": frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
}
_LIBRARY_LIMITS = {
    "base": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
}
"""Environment variables, read when torch is imported, that keep its libraries at a level."""

SPIN_COUNT = 10_000
"""Turns of an OpenMP thread's waiting loop before it sleeps, where `let_idle_threads_sleep` decides it."""

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


def cpu_vendor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The maker as the Linux kernel names it: GenuineIntel, AuthenticAMD; None on other systems and processors."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), None)


def isa_limit() -> str | None:
    """The level that SEMTUNE_ISA names, or None. Raises OptionError for another word."""
    limit = os.environ.get(ISA_VARIABLE, "").strip().lower()
    if limit and limit not in LEVELS:
        raise OptionError(f"{ISA_VARIABLE}={limit} is not a level of instructions; write one of {', '.join(LEVELS)}.")
    return limit or None


@functools.cache
def usable_levels() -> tuple[str, ...]:
    """Those of `LEVELS` that this machine has and SEMTUNE_ISA allows, the lowest first."""
    flags, limit = cpu_flags(), isa_limit()
    allowed = LEVELS if limit is None else LEVELS[: LEVELS.index(limit) + 1]
    has = itertools.takewhile(lambda name: _LEVEL_FLAGS.get(name, frozenset()) <= flags, allowed)
    return tuple(has)


def instruction_level() -> str:
    """The level of instructions that the compiled loops use: the highest of `usable_levels`."""
    return usable_levels()[-1]


def limit_libraries(environment: MutableMapping[str, str]) -> None:
    """Where SEMTUNE_ISA is set, keep torch, oneDNN and MKL at that level too; call it before torch is imported.

    What the user has set already stays.
    """
    limit = isa_limit()
    for name, value in _LIBRARY_LIMITS[limit].items() if limit else ():
        environment.setdefault(name, value)


def let_idle_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Where the CPU has no bf16 hardware, make OpenMP's idle threads sleep soon; call it before torch is imported.

    By default they spin while they wait, which takes the cores from other programs and from a second run. Threads that
    sleep at once have to be woken a thousand times a step: a quiet step took 1.18 s instead of 0.95. After this many
    turns they spin from loop to loop and sleep through Python's work: a quiet step takes 0.95 s, one beside another run
    2.8 (1.75 where threads sleep at once, 3.9 at twice the turns; docs/LOG.md). On processors with bf16 hardware, whose
    steps are shorter, it cost more than it saved. What the user has set stays.
    """
    if native_bf16() or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environment.keys():
        return
    if sys.platform == "linux":  # torch has GNU's OpenMP there
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    else:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


@functools.cache
def native_bf16(device_type: str = "cpu") -> bool:
    """Whether this machine's "cpu", "cuda" or "mps" device is taken to multiply bf16 in hardware.

    A CPU without such instructions emulates bf16 products through fp32, slower than fp32 itself. Where the flags cannot
    be read, or SEMTUNE_ISA limits the instructions, the answer is False. A GPU has them from compute capability 8.0
    (Ampere) on. Of Apple's GPUs some do and some do not, and torch does not tell which: False.
    """
    if device_type == "cuda":
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return device_type == "cpu" and isa_limit() is None and bool(cpu_flags() & _CPU_BF16_FLAGS)
