"""What a figure depends on besides its spec: `environment.json` of a run. No names of hosts, users or folders."""

from __future__ import annotations

import platform
from typing import Any

from semtune.measure import machine


def environment() -> dict[str, Any]:
    """Package versions, Python, system, processor, cores, threads, memory and GPUs, for JSON. Imports torch."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": machine.cpu_model(),
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "native_bf16": machine.native_bf16(),
        "compiled_kernels": machine.compiled_kernels(),
        "total_memory_bytes": machine.total_memory_bytes(),
        "cuda": torch.version.cuda,
        "gpus": machine.gpus(),
        "packages": machine.package_versions(),
    }
