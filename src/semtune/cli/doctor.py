"""`semtune doctor`: what this machine can do."""

from __future__ import annotations

from typing import Any

from semtune.cli import options as o
from semtune.runtime.imports import heavy_imports

GB = 1e9
_SLOWER = "torch operations stand in, slower"
KERNELS = {
    "compiled": "compiled: norms, attention's softmax, dropout, 4-bit weights and AdamW each run as one loop",
    "off": f"switched off by SEMTUNE_KERNELS: {_SLOWER}",
    "missing": f"none: {_SLOWER} (install semtune where there is a C compiler, on Linux or macOS)",
    "stale": f"not used, as they were built from other sources: {_SLOWER} (install semtune again: pip install -e .)",
}
"""State of the compiled loops -> what is printed about them."""


def doctor(json: o.Json = False) -> int:
    """Show cores, bf16, memory, GPUs and versions, and what they mean for tuning here."""
    from semtune.measure.machine import doctor as examine

    with heavy_imports():
        found = examine()
    if json:
        o.print_json(found)
        return 0
    for name, value in _lines(found):
        o.show(f"{name:10}  {value}")
    return 0


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    bf16 = "multiplied natively: frozen weights stay in bf16"
    if not found["native_bf16"]:
        bf16 = "not multiplied by this processor: products run in fp32, frozen weights stay in bf16"
    lines = [
        ("python", f"{found['python']} on {found['system']}"),
        ("cpu", f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads"),
        ("level", found["instructions"]),
        ("bf16", bf16),
        ("kernels", KERNELS[found["kernel_state"]]),
        ("memory", f"{found['available_memory_bytes'] / GB:.1f} of {found['total_memory_bytes'] / GB:.1f} GB free"),
    ]
    for gpu in found["gpus"]:
        lines.append(("gpu", ", ".join(f"{key} {value}" for key, value in gpu.items())))
    if not found["gpus"]:
        lines.append(("gpu", "none that torch can use; everything runs on the CPU"))
    lines += [(name, version) for name, version in found["packages"].items()]
    return lines
