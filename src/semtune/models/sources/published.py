"""Configs of published models that semtune ships, so that plans about them need no network."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-7b-chat-hf": "llama-2-7b",
    "meta-llama/Llama-2-13b-hf": "llama-2-13b",
    "meta-llama/Llama-2-13b-chat-hf": "llama-2-13b",
    "meta-llama/Llama-3.1-8B": "llama-3.1-8b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Llama-3.2-1B": "llama-3.2-1b",
    "meta-llama/Llama-3.2-1B-Instruct": "llama-3.2-1b",
    "meta-llama/Llama-3.2-3B": "llama-3.2-3b",
    "meta-llama/Llama-3.2-3B-Instruct": "llama-3.2-3b",
    "HuggingFaceTB/SmolLM2-135M": "smollm2-135m",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m",
    "HuggingFaceTB/SmolLM2-360M": "smollm2-360m",
    "HuggingFaceTB/SmolLM2-360M-Instruct": "smollm2-360m",
}
"""Hub id -> name of a shape."""


def shape_names() -> list[str]:
    """The names of all configs that semtune ships."""
    folder = resources.files("semtune.models") / "shapes"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def shape_config(name: str) -> Any:
    """transformers' config of a name of `shape_names`."""
    from transformers import AutoConfig

    file = resources.files("semtune.models") / "shapes" / f"{name}.json"
    fields = json.loads(file.read_text(encoding="utf-8"))
    return AutoConfig.for_model(fields.pop("model_type"), **fields)
