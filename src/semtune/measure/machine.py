"""The capabilities of this machine: cores, memory (as far as its container allows), GPUs, bf16."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from semtune.runtime.processor import instruction_level
from semtune.runtime.processor import native_bf16 as _native_bf16

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROC_CGROUP = Path("/proc/self/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a huge number."""

PACKAGES = (
    "semtune",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gguf",
    "huggingface_hub",
    "numpy",
    "scikit-learn",
    "pandas",
    "bitsandbytes",
    "peft",
)
"""Packages whose versions are recorded with every run, where they are installed."""


def cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Threads of a run that names none: OMP_NUM_THREADS, as in other programs that compute, but no more than cores."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list is one number a nesting level
    return min(int(given), cores()) if given.isdecimal() and int(given) > 0 else cores()


def native_bf16(device_type: str = "cpu") -> bool:
    """Whether this machine's "cpu", "cuda" or "mps" device is taken to multiply bf16 in hardware."""
    return _native_bf16(device_type)


def compiled_kernels() -> bool:
    """Whether the compiled loops of `semtune.nn.kernels` are in use. Imports torch."""
    from semtune.nn.kernels import library

    return library() is not None


def kernel_state() -> str:
    """Whether the compiled loops are in use ("compiled"), or why not ("off", "missing", "stale"). Imports torch."""
    from semtune.nn.kernels import state

    return state()


def total_memory_bytes() -> int:
    """The machine's memory, or the limit of this process's container where that is lower."""
    import psutil

    limit, _ = cgroup_memory()
    total = int(psutil.virtual_memory().total)
    return total if limit is None else min(total, limit)


def available_memory_bytes() -> int:
    """Bytes that can be allocated without swapping, within the container's limit."""
    import psutil

    limit, used = cgroup_memory()
    available = int(psutil.virtual_memory().available)
    return available if limit is None else max(0, min(available, limit - used))


def cgroup_memory(root: Path = _CGROUP_ROOT, membership: Path = _PROC_CGROUP) -> tuple[int | None, int]:
    """(limit, used) in bytes of the control group around this process with the least free memory; limit None: no limit.

    Page cache that the kernel would drop under pressure is not counted as used. Versions 1 and 2 are read.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None, 0
    tightest: tuple[int, int] | None = None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit_name, usage_name, cache_key = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit_name, usage_name = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache_key = "total_inactive_file"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # limits of all enclosing groups apply
            limit = _read_number(folder / limit_name)
            if limit is not None and limit < _UNLIMITED_BYTES:
                used = max(0, (_read_number(folder / usage_name) or 0) - _read_stat(folder / "memory.stat", cache_key))
                if tightest is None or limit - used < tightest[0] - tightest[1]:
                    tightest = (limit, used)
            if folder == base:
                break
    return tightest if tightest is not None else (None, 0)


def gpus() -> list[dict[str, Any]]:
    """Name, memory in bytes and bf16 ability of each GPU that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "name": properties.name,
                "memory_bytes": int(properties.total_memory),
                "native_bf16": properties.major >= 8,
            }
        )
    return found


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Versions of `PACKAGES`, without importing them; packages that are not installed are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def doctor() -> dict[str, Any]:
    """The output of `semtune doctor`: this machine, and the installed packages. Imports torch."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "instructions": instruction_level(),
        "native_bf16": native_bf16(),
        "compiled_kernels": compiled_kernels(),
        "kernel_state": kernel_state(),
        "total_memory_bytes": total_memory_bytes(),
        "available_memory_bytes": available_memory_bytes(),
        "gpus": gpus(),
        "packages": package_versions(),
    }


def _read_number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # version 2 writes "max" for no limit


def _read_stat(file: Path, key: str) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return 0
