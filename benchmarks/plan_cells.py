"""The grid of `plan.py`, and the cells that its constants are fitted to. Both are data; no cell is in both."""

from __future__ import annotations

from typing import Any

METHODS = ("full", "lora", "qlora", "dora")
QUICK_MODELS = ("default",)
_COMMON = {"task": "practice", "device": "cpu", "max_new_tokens": 8}


def _cell(
    model: str, method: str, batch: int, length: int, readout: str, activation_checkpointing: bool, **more: Any
) -> dict[str, Any]:
    return {
        **_COMMON, "model": model, "method": method, "batch_size": batch, "max_length": length, "readout": readout,
        "activation_checkpointing": activation_checkpointing, **more,
    }  # fmt: skip


_SMALL = ((8, 32, "generate", False), (16, 64, "generate", False), (8, 128, "head", False), (8, 128, "generate", True),
          (4, 256, "head", True), (8, 256, "head", False), (16, 32, "head", False))  # fmt: skip
_MIDDLE = ((8, 64, "generate", False), (8, 128, "head", False), (8, 128, "generate", True), (4, 256, "head", False))
_LARGE = ((8, 64, "generate", False), (4, 128, "head", False), (8, 128, "head", True), (8, 64, "generate", True))

_SHORT, _LONG = (8, 32), (8, 64)
_NF4 = {"precision": "nf4"}
OTHER_METHODS: list[dict[str, Any]] = [
    # Of each method one, then a second one: with a limit of seconds every method has its turn.
    _cell("default", "houlsby", *_SHORT, "generate", False),
    _cell("default", "pfeiffer", *_LONG, "head", False),
    _cell("default", "prefix", *_SHORT, "generate", False),
    _cell("default", "mam", *_SHORT, "generate", False),
    _cell("default", "qa-lora", *_SHORT, "generate", False),
    _cell("default", "qdora", *_SHORT, "generate", False),
    _cell("default", "ia3", *_SHORT, "generate", False),
    _cell("default", "bitfit", *_SHORT, "generate", True),
    _cell("default", "ln-tuning", *_LONG, "head", False),
    _cell("default", "last-layers", *_SHORT, "generate", False),
    _cell("default", "linear-probe", 16, 32, "head", False),
    _cell("default", "houlsby", *_LONG, "head", True),
    _cell("default", "pfeiffer", *_SHORT, "generate", True, **_NF4),
    _cell("default", "prefix", *_LONG, "head", True, **_NF4),
    _cell("default", "mam", *_LONG, "head", True),
    _cell("default", "qa-lora", *_LONG, "head", True),
    _cell("default", "qdora", *_LONG, "head", True),
    _cell("default", "ia3", *_LONG, "head", True, **_NF4),
    _cell("default", "bitfit", *_LONG, "head", False, **_NF4),
    _cell("default", "ln-tuning", *_SHORT, "generate", True, **_NF4),
    _cell("default", "last-layers", *_LONG, "head", True),
    _cell("default", "linear-probe", *_LONG, "head", False, **_NF4),
    _cell("default", "prefix", *_SHORT, "generate", False, **_NF4),
]

GRID: list[dict[str, Any]] = [
    *(_cell("default", method, *rest) for method in METHODS for rest in _SMALL),
    *(_cell("shape:smollm2-360m", method, *rest) for method in METHODS for rest in _MIDDLE),
    *(_cell("shape:llama-3.2-1b", method, *rest) for method in METHODS[1:] for rest in _LARGE),
    _cell("shape:llama-3.2-1b", "full", 4, 64, "head", False),
    _cell("shape:llama-3.2-1b", "full", 4, 64, "generate", True),
    _cell("shape:llama-3.2-1b", "qlora", 4, 256, "head", False),
    _cell("shape:llama-3.2-1b", "lora", 2, 256, "generate", False),
    _cell("default", "full", 8, 128, "head", False, optimizer="adamw-8bit"),
    _cell("shape:smollm2-360m", "full", 8, 64, "generate", False, optimizer="adamw-8bit"),
    _cell("shape:llama-3.2-1b", "full", 4, 64, "head", False, optimizer="adamw-8bit"),
    _cell("default", "full", 8, 128, "head", False, fused_update=True),
    _cell("default", "full", 8, 32, "generate", True, fused_update=True, fused_clip="total"),
    _cell("shape:smollm2-360m", "full", 8, 64, "generate", False, fused_update=True),
    _cell("shape:llama-3.2-1b", "full", 4, 64, "head", False, fused_update=True),
    _cell("shape:llama-3.2-1b", "full", 4, 64, "head", False, fused_update=True, optimizer="adamw-8bit"),
    _cell("default", "full", 8, 128, "head", False, optimizer="adafactor"),
    _cell("shape:smollm2-360m", "full", 4, 64, "head", False, optimizer="adafactor", fused_update=True),
    _cell("default", "full", 8, 64, "generate", False, optimizer="lion"),
    _cell("default", "full", 8, 64, "generate", False, optimizer="apollo", fused_update=True),
    _cell("default", "full", 8, 128, "head", False, optimizer="mezo"),
    _cell("default", "lora", 8, 64, "generate", False, optimizer="mezo"),
    _cell("shape:llama-2-7b", "qlora", 8, 44, "generate", False),
    _cell("shape:llama-2-7b", "qlora", 4, 128, "head", True),
    _cell("shape:llama-2-7b", "dora", 2, 44, "head", False, precision="nf4"),
    _cell("shape:llama-2-7b", "lora", 4, 44, "generate", False),
    *OTHER_METHODS,
]

CALIBRATION: list[dict[str, Any]] = [
    _cell("default", "lora", 8, 48, "generate", False, prepack=False),
    _cell("default", "lora", 8, 48, "generate", False),
    _cell("default", "lora", 8, 192, "head", False, prepack=False),
    _cell("default", "lora", 16, 96, "generate", True),
    _cell("default", "lora", 6, 320, "head", False),
    _cell("default", "full", 8, 48, "head", False),
    _cell("default", "full", 8, 192, "generate", True),
    _cell("default", "qlora", 8, 96, "head", False),
    _cell("default", "dora", 8, 96, "head", False),
    _cell("shape:smollm2-360m", "lora", 8, 96, "head", False),
    _cell("shape:smollm2-360m", "qlora", 8, 96, "generate", False),
    _cell("shape:smollm2-360m", "full", 8, 96, "generate", False),
    _cell("shape:smollm2-360m", "dora", 4, 192, "generate", True),
    _cell("shape:llama-3.2-1b", "lora", 6, 48, "generate", False),
    _cell("shape:llama-3.2-1b", "qlora", 6, 96, "head", False),
    _cell("shape:smollm2-360m", "lora", 8, 96, "head", True),
    _cell("default", "qlora", 8, 160, "head", True),
    _cell("shape:llama-3.2-1b", "qlora", 6, 96, "generate", True),
    _cell("shape:llama-3.2-1b", "dora", 6, 48, "head", False),
]
