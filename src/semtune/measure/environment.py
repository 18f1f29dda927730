"""The environment of a run, on which its figures depend: `environment.json`. No names of hosts, users or folders."""

from __future__ import annotations

import platform
import sys
from typing import Any

from semtune.measure import machine
from semtune.runtime.processor import instruction_level


def environment() -> dict[str, Any]:
    """Package versions, Python, system, processor, cores, memory, and torch's threads and GPUs, for JSON.

    torch is not imported: a process without it cannot depend on its settings, so they are left out there.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": machine.cpu_model(),
        "cores": machine.cores(),
        "instructions": instruction_level(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found |= {
            "threads": torch.get_num_threads(),
            "native_bf16": machine.native_bf16(),
            "compiled_kernels": machine.compiled_kernels(),
        }
    found["total_memory_bytes"] = machine.total_memory_bytes()
    if torch is not None:
        found |= {"cuda": torch.version.cuda, "gpus": machine.gpus()}
    return {**found, "packages": machine.package_versions()}
