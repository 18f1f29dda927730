"""Reads and writes adapters in the file format of PEFT (huggingface/peft), in both directions.

`adapter_config.json` describes the adapters and their layers; `adapter_model.safetensors` has, for a layer at PATH,
`base_model.model.PATH.lora_A.weight`, `….lora_B.weight` and, for DoRA, `….lora_magnitude_vector`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.methods._files import TensorFile, write_tensors
from semtune.methods._peft_config import check_supported, read_config
from semtune.nn.low_rank import LowRankLinear
from semtune.records import LowRankSettings
from semtune.runtime.files import write_json

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def save(
    model: nn.Module, adapters: Mapping[str, LowRankLinear], folder: Path, settings: LowRankSettings, base_model: str
) -> None:
    """Write `adapters` (by module path in `model`) and their config to `folder`. Raises OutputError."""
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "modules_to_save": None,
        "r": settings.rank,
        "target_modules": _target_modules(model, adapters),
        "use_dora": any(adapter.magnitude is not None for adapter in adapters.values()),
        "use_rslora": False,
    }
    # Weights first: a config without weights would look like a finished adapter.
    write_tensors(folder / WEIGHTS_FILE, _by_peft_name(adapters))
    write_json(folder / CONFIG_FILE, config, indent=2)


def load(adapters: Mapping[str, LowRankLinear], folder: Path) -> None:
    """Read the files in `folder` into `adapters`, which must be of the same kind, rank and scale, on the same layers.

    Raises ModelError for a missing, broken or different file; `adapters` are then unchanged.
    """
    _check_config(adapters, folder / CONFIG_FILE)
    tensors = _by_peft_name(adapters)
    with TensorFile(folder / WEIGHTS_FILE) as file:
        file.check({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        file.copy_into(tensors)


def _by_peft_name(adapters: Mapping[str, LowRankLinear]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path, adapter in adapters.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = adapter.lora_A
        tensors[f"base_model.model.{path}.lora_B.weight"] = adapter.lora_B
        if adapter.magnitude is not None:
            tensors[f"base_model.model.{path}.lora_magnitude_vector"] = adapter.magnitude
    return tensors


def _target_modules(model: nn.Module, adapters: Mapping[str, LowRankLinear]) -> list[str]:
    """Names by which PEFT finds exactly the adapted layers: last components where these suffice, else whole paths."""
    names = {path.rpartition(".")[2] for path in adapters}
    found = {path for path, _ in model.named_modules() if path.rpartition(".")[2] in names}
    return sorted(names) if found == set(adapters) else sorted(adapters)


def _check_config(adapters: Mapping[str, LowRankLinear], path: Path) -> None:
    """Raises ModelError unless the config at `path` describes `adapters`."""
    config = read_config(path)
    check_supported(config, path)
    rank, alpha, dora = config.get("r"), config.get("lora_alpha"), bool(config.get("use_dora"))
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise ModelError(f"{path} does not say r and lora_alpha as numbers; give the folder of a finished run")
    for adapter in adapters.values():
        if adapter.rank != rank:
            raise ModelError(f"{path} is of rank {rank}, the model was prepared for {adapter.rank}; give rank {rank}")
        if not math.isclose(adapter.scale, alpha / rank):
            expected = adapter.scale * rank
            raise ModelError(f"{path} has alpha {alpha}, the model was prepared for {expected:g}; give alpha {alpha}")
        if (adapter.magnitude is not None) != dora:
            right = "with" if dora else "without"
            raise ModelError(
                f"{path} is {right} DoRA's magnitudes, the model was prepared otherwise; change the method"
            )
