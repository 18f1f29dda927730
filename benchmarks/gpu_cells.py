"""The runs of `gpu.py`: what plans are compared with on a GPU, and what is tried on a card of 12 GB. Both are data."""

from __future__ import annotations

from typing import Any

SMALL, MIDDLE, LARGE = "shape:smollm2-135m", "shape:llama-3.2-1b", "shape:llama-2-7b"
_COMMON = {"task": "practice", "device": "cuda", "max_new_tokens": 8}


def _cell(model: str, method: str, batch: int, length: int, readout: str, saving: bool = False, **more: Any) -> Any:
    """`saving`: with activation checkpointing."""
    return {
        **_COMMON, "model": model, "method": method, "batch_size": batch, "max_length": length, "readout": readout,
        "activation_checkpointing": saving, **more,
    }  # fmt: skip


PLAN: list[dict[str, Any]] = [
    *(_cell(SMALL, method, 8, 64, "generate") for method in ("full", "lora", "qlora", "dora")),
    *(_cell(SMALL, method, 32, 128, "head") for method in ("full", "lora", "qlora", "dora")),
    _cell(MIDDLE, "full", 8, 128, "generate"),
    _cell(MIDDLE, "full", 8, 128, "head", optimizer="adamw-8bit"),
    *(_cell(MIDDLE, method, 8, 64, "generate") for method in ("lora", "qlora", "dora")),
    *(_cell(MIDDLE, method, 16, 256, "head") for method in ("lora", "qlora", "dora")),
    *(_cell(MIDDLE, method, 8, 128, "generate", True) for method in ("lora", "qlora")),
    _cell(LARGE, "qlora", 8, 44, "generate"),
    _cell(LARGE, "qlora", 16, 256, "head", True),
    _cell(LARGE, "qlora", 4, 256, "head"),
    _cell(LARGE, "lora", 8, 44, "generate"),
    _cell(LARGE, "lora", 8, 256, "generate", True),
    _cell(LARGE, "dora", 8, 44, "head", precision="nf4"),
]

CARD: list[dict[str, Any]] = [
    _cell(MIDDLE, "full", 8, 44, "generate"),
    _cell(MIDDLE, "full", 8, 44, "generate", optimizer="adamw-8bit"),
    *(_cell(MIDDLE, method, 8, 44, "generate") for method in ("lora", "qlora", "dora")),
    _cell(LARGE, "lora", 8, 44, "generate"),
    _cell(LARGE, "lora", 8, 44, "generate", offload_bytes=5 << 30),
    _cell(LARGE, "qlora", 8, 44, "generate"),
    _cell(LARGE, "dora", 8, 44, "generate", precision="nf4"),
]
"""The course report's table on its card of 12 GB: batches of 8 texts, 44 tokens each (SemEval's 90th percentile)."""
