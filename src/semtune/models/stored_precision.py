"""Model folders whose linear layers are stored as a quantisation stores them: a model that was merged in 4 bits, say.

`config.json` says so in the field that transformers has for it:

    "quantization_config": {"quant_method": "semtune", "precision": "int4"}

and the weights' file has each quantised layer's buffers (codes, scales, zeros) in the place of its weight. The file is
called model-int4.safetensors, a name that transformers does not look for: it refuses such a folder, where it would only
warn about the unknown method and go on with random weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from semtune.contracts import StoredQuantization
from semtune.errors import ModelError, OptionError
from semtune.models.architectures import linears_of
from semtune.registry import QUANTIZATIONS

FIELD = "quantization_config"
_METHOD = "semtune"
ATTRIBUTE = "semtune_stored_precision"
"""Attribute of a transformers config object; semtune moves the field's content there."""


def description(precision: str) -> dict[str, str]:
    """The value of `FIELD` in the config.json of a model whose layers are stored in `precision`."""
    return {"quant_method": _METHOD, "precision": precision}


def weights_name(precision: str) -> str:
    """Name of the weights' file of a model whose layers are stored in `precision`."""
    return f"model-{precision}.safetensors"


def is_ours(raw: Mapping[str, Any]) -> bool:
    """Whether the content of a config.json describes a model whose layers semtune has stored quantised."""
    field = raw.get(FIELD)
    return isinstance(field, Mapping) and field.get("quant_method") == _METHOD


def mark(config: Any) -> None:
    """Move the description from transformers' field of `config` to semtune's attribute, which models are built by.

    Raises ModelError: the precision is none that this version stores.
    """
    precision = str(getattr(config, FIELD)["precision"])
    if precision not in QUANTIZATIONS or not hasattr(QUANTIZATIONS.get(precision), "empty"):
        raise ModelError(
            f'The model\'s layers are stored in precision "{precision}", which this version of semtune does not read; '
            "update semtune, or give the model in bf16."
        )
    delattr(config, FIELD)
    setattr(config, ATTRIBUTE, precision)


def stored_precision(config: Any) -> str | None:
    """The precision that the linear layers of the model of `config` are stored in; None: in a dtype."""
    found = getattr(config, ATTRIBUTE, None)
    return None if found is None else str(found)


def check_precision(config: Any, precision: str) -> None:
    """Raises OptionError where a model is stored in another precision than the one it shall be loaded in."""
    stored = stored_precision(config)
    if stored is not None and precision != stored:
        raise OptionError(
            f"This model's layers are stored in {stored}, so it cannot be loaded in precision {precision}; give "
            f"--precision {stored} (the method qa-lora's own), or a folder written with `semtune merge --dequantize`."
        )


def install_stored_layers(model: nn.Module, config: Any, dtype: torch.dtype) -> None:
    """Replace the decoder's linear layers of a meta-device model by empty ones of its stored precision, if it has one.

    Args:
        dtype: compute dtype.
    """
    precision = stored_precision(config)
    if precision is None:
        return
    quantization: StoredQuantization = QUANTIZATIONS.get(precision)
    for path, linear in linears_of(model).items():
        if isinstance(linear, nn.Linear):
            layer = quantization.empty(linear.in_features, linear.out_features, linear.bias is not None, dtype)
            model.set_submodule(path, layer.train(linear.training))
