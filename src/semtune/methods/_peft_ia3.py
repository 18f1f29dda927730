"""Reads and writes (IA)³ vectors in the file format of PEFT (huggingface/peft), in both directions.

`adapter_model.safetensors` has, for a layer at PATH, `base_model.model.PATH.ia3_l`: (out, 1) where the layer's output
is scaled, (1, in) where its input is. `adapter_config.json` names the second kind in `feedforward_modules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._peft_common import PREFIX, check_kind, head_of_config, module_names
from semtune.methods._peft_config import read_config
from semtune.methods._peft_files import CONFIG_FILE, WEIGHTS_FILE
from semtune.nn.scaled_linear import ScaledLinear
from semtune.runtime.files import write_json

KIND = "IA3"
_KNOWN = ("init_ia3_weights",)
"""The vectors' start, which is over."""


def save(model: nn.Module, layers: Mapping[str, ScaledLinear], folder: Path, base_model: str) -> None:
    """Write `layers` (by module path in `model`) and their config to `folder`. Raises OutputError."""
    on_input = [path for path, layer in layers.items() if layer.on_input]
    feedforward = module_names(model, on_input)
    config = {
        **head_of_config(KIND, base_model),
        "fan_in_fan_out": False,
        "feedforward_modules": feedforward,
        "init_ia3_weights": True,
        # PEFT requires that each entry of feedforward_modules is one of these too.
        "target_modules": sorted({*feedforward, *module_names(model, layers.keys() - on_input)}),
    }
    # Weights first: a config without weights would look like a finished adapter.
    write_tensors(folder / WEIGHTS_FILE, _by_peft_name(layers))
    write_json(folder / CONFIG_FILE, config, indent=2)


def load(layers: Mapping[str, ScaledLinear], folder: Path) -> None:
    """Read the files in `folder` into `layers`, which must be the same layers, scaled on the same sides.

    Raises ModelError for a missing, broken or different file; `layers` are then unchanged.
    """
    path = folder / CONFIG_FILE
    check_kind(read_config(path), path, KIND, _KNOWN)
    read_tensors(folder / WEIGHTS_FILE, _by_peft_name(layers))


def _by_peft_name(layers: Mapping[str, ScaledLinear]) -> dict[str, Tensor]:
    """PEFT's name -> the vector in PEFT's shape, a view."""
    return {
        f"{PREFIX}{path}.ia3_l": layer.scale.detach().view((1, -1) if layer.on_input else (-1, 1))
        for path, layer in layers.items()
    }
