"""Devices to plan for: this machine, a memory size such as "12GB" or "12GB+32GB", or a GPU by name.

"12GB" means 12 GiB, as in names of cards. The size after the plus is main memory for CPU offload of frozen weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from semtune.errors import OptionError, did_you_mean

GIB = 1 << 30
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:GB|GiB|G)", re.IGNORECASE)

CUDA_CONTEXT_BYTES = int(0.75 * GIB)
"""Memory of the driver and the libraries' kernels: what an H100 held beside torch's allocator after a run (CUDA 13,
benchmarks/records/2026-11-26-gpu). Smaller cards are assumed to hold as much; 0.55 GB of it were there before the first
kernel of a library."""
CUDA_WORKSPACE_BYTES = 64 << 20
"""Workspaces of cuBLAS for two streams, 32 MiB each by default."""
CUDA_FRAGMENTATION = 0.05
"""Assumed: torch's caching allocator reserves, unused at the peak, this share of what a step allocates and frees."""
CUDA_ROUNDING_BYTES = 512
"""torch's caching allocator rounds every tensor up to a multiple of this (c10/cuda/CUDACachingAllocator.cpp)."""
CUDA_UTILISATION = 0.4
"""Assumed share of a card's peak FLOP/s that a step reaches."""
BUS_BYTES_PER_SECOND = 12e9
"""Assumed: three quarters of what PCIe 4.0 × 8 or 3.0 × 16 carries (16 GB/s)."""
_UNNAMED_FLOPS, _UNNAMED_BANDWIDTH = 25.5e12, 360e9
"""FLOP/s and bytes/s of an RTX 3060, assumed for a card whose memory size alone is given."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU's data sheet."""

    memory_bytes: int
    flops_per_second: float
    """Dense bf16 matrix products with fp32 accumulation (fp16 on cards without bf16)."""
    bytes_per_second: float
    """Memory bandwidth."""
    native_bf16: bool = True


CARDS = {
    # Memory and bandwidth are the makers' figures. A GeForce multiplies bf16 with fp32 sums at twice its fp32 rate (two
    # operations a core and cycle, at boost clock); the others' rates are those of their data sheets. None was measured.
    "rtx-3060": Card(12 * GIB, 25.5e12, 360e9),
    "rtx-3070": Card(8 * GIB, 40.6e12, 448e9),
    "rtx-3080": Card(10 * GIB, 59.5e12, 760e9),
    "rtx-3090": Card(24 * GIB, 71e12, 936e9),
    "rtx-4060": Card(8 * GIB, 30.2e12, 272e9),
    "rtx-4070": Card(12 * GIB, 58.3e12, 504e9),
    "rtx-4080": Card(16 * GIB, 97.5e12, 717e9),
    "rtx-4090": Card(24 * GIB, 165.2e12, 1008e9),
    "rtx-5070": Card(12 * GIB, 61.7e12, 672e9),
    "rtx-5080": Card(16 * GIB, 112.6e12, 960e9),
    "rtx-5090": Card(32 * GIB, 209.6e12, 1792e9),
    "t4": Card(16 * GIB, 65e12, 300e9, native_bf16=False),
    "l4": Card(24 * GIB, 121e12, 300e9),
    "a10": Card(24 * GIB, 125e12, 600e9),
    "a100-40gb": Card(40 * GIB, 312e12, 1555e9),
    "a100-80gb": Card(80 * GIB, 312e12, 2039e9),
    "h100": Card(80 * GIB, 989e12, 3350e9),
}


@dataclass(frozen=True, slots=True)
class Device:
    """Memory and speed that are available to a run."""

    name: str
    kind: Literal["cpu", "cuda", "mps"]
    """"mps": memory is counted as on a CPU, whose memory Apple's GPU shares; its speed is unknown."""
    memory_bytes: int
    """Memory for the whole run."""
    spill_bytes: int = 0
    """Main memory for CPU offload of frozen weights."""
    native_bf16: bool = True
    flops_per_second: float | None = None
    """FLOP/s that a step is assumed to reach; None: measured on this machine."""
    bytes_per_second: float | None = None
    """Assumed memory bandwidth; None: measured on this machine."""
    assumptions: tuple[str, ...] = ()


def parse_device(text: str, local: Device) -> Device:
    """The device that `text` names.

    Args:
        local: this machine, for "auto" and its own kind.

    Raises:
        OptionError: an unknown device or a malformed size.
    """
    if text in ("auto", "here", local.kind):
        return local
    first, plus, second = text.partition("+")
    spill = _size(second) if plus else 0
    if plus and spill is None:
        raise OptionError(f'"{second}" in --device {text} is no size; write it as 12GB+32GB.')
    card = CARDS.get(first.strip().lower().replace(" ", "-"))
    if card is not None:
        device = _card_device(first.strip(), card)
    else:
        memory = _size(first)
        if memory is None:
            known = ["auto", "12GB", "12GB+32GB", *CARDS]
            raise OptionError(f'There is no device "{text}"; {did_you_mean(text, known)}.')
        if memory < GIB // 2:
            raise OptionError(f"--device {text} is too small for any run; give at least 0.5GB.")
        unnamed = Card(memory, _UNNAMED_FLOPS, _UNNAMED_BANDWIDTH)
        device = _card_device(first, unnamed)
        device = replace(
            device,
            assumptions=(*device.assumptions, "speed: that of an RTX 3060, as only the card's size is known"),
        )
    return replace(device, name=text, spill_bytes=spill or 0)


def _card_device(name: str, card: Card) -> Device:
    return Device(
        name=name,
        kind="cuda",
        memory_bytes=card.memory_bytes,
        native_bf16=card.native_bf16,
        flops_per_second=card.flops_per_second * CUDA_UTILISATION,
        bytes_per_second=card.bytes_per_second,
        assumptions=(
            f"CUDA: {CUDA_CONTEXT_BYTES / GIB:.2f} GiB for context, {CUDA_WORKSPACE_BYTES >> 20} MiB workspace, "
            f"tensors rounded up to {CUDA_ROUNDING_BYTES} bytes, {CUDA_FRAGMENTATION:.0%} of a step fragmented",
            f"products at {CUDA_UTILISATION:.0%} of {card.flops_per_second / 1e12:.0f} TFLOP/s; not measured",
        ),
    )


def _size(text: str) -> int | None:
    found = _SIZE.fullmatch(text.strip())
    return round(float(found.group(1)) * GIB) if found else None
