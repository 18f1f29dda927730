"""Which `adapter_config.json` of PEFT describes what `LowRankLinear` computes; every other one is refused by name.

PEFT's `LoraConfig` has some forty keys. Each changes what the adapter computes, or how training started, or only where
PEFT puts adapters; a key that is not known here may do the first, so its value must be empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semtune.errors import ModelError

_CHECKED_ELSEWHERE = frozenset({"peft_type", "r", "lora_alpha", "use_dora", "init_lora_weights"})
_WITHOUT_EFFECT = frozenset(
    {
        # Where adapters are: the tensors of the file say it again, by name, and are compared one by one.
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters",
        # How training went, which is over.
        "lora_dropout", "inference_mode", "ensure_weight_tying", "task_type", "auto_mapping", "runtime_config",
        "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "megatron_config",
        "qalora_group_size",  # read where `use_qalora` is set alone, which is refused
        "base_model_name_or_path", "revision", "peft_version",
    }
)  # fmt: skip
_NEUTRAL: Mapping[str, Any] = {"bias": "none"}
"""Values that change nothing although they are not empty."""
_OTHERWISE: Mapping[str, str] = {
    "use_qalora": "as PEFT scales the pooled input by each layer's number of groups and needs a GPTQ base; tune anew "
    "with the method qa-lora",
}
"""Keys that PEFT computes otherwise than semtune's method of that name: why, and what to do."""
_STARTS_ON_THE_BASE = ("gaussian", "eva", "orthogonal", "mica")
"""Values of `init_lora_weights` that draw the adapter otherwise and leave the base as it was."""


def read_config(path: Path) -> dict[str, Any]:
    """The adapter's config. Raises ModelError: the file is missing or broken."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}; give the folder of a finished run") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); it may be cut short") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not an adapter's config; give the folder of a finished run")
    return config


def check_supported(config: Mapping[str, Any], path: Path) -> None:
    """Check that the adapter is plain LoRA or DoRA over an unchanged base. Raises ModelError, which names the key."""
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{path} describes a {config.get('peft_type')} adapter; only LORA adapters can be read")
    for key, value in config.items():
        if key in _CHECKED_ELSEWHERE or key in _WITHOUT_EFFECT or not value or value == _NEUTRAL.get(key):
            continue
        reason = f", {_OTHERWISE[key]}" if key in _OTHERWISE else "; make the adapter without it"
        raise ModelError(f"{path} sets {key}, which is not supported{reason}")
    _check_start(config.get("init_lora_weights", True), path)


def _check_start(start: Any, path: Path) -> None:
    """Refuse an adapter that was trained over a base from which PEFT had subtracted the adapter's start."""
    if isinstance(start, bool) or (isinstance(start, str) and start.lower() in _STARTS_ON_THE_BASE):
        return
    raise ModelError(
        f"{path} starts with init_lora_weights={start!r}, which changes the base model's weights, so the adapter does "
        "not fit the model as published; convert it with PEFT, by save_pretrained(folder, "
        "path_initial_model_for_weight_conversion=the untrained adapter), and give that folder"
    )
