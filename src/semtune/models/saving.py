"""Writes a merged model to a folder: config, weights and tokenizer.

Plain weights become a folder in transformers' format, written by transformers. Linear layers of a quantisation that can
be stored stay in its codes, in a folder that semtune reads (`stored_precision`); `dequantize` writes them as plain
weights instead, rounded to bf16.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from semtune.contracts import Located
from semtune.errors import ModelError, OutputError, first_line
from semtune.models.architectures import linears_of
from semtune.models.quiet import quiet
from semtune.models.stored_precision import ATTRIBUTE, FIELD, description, weights_name
from semtune.nn.linear import QuantizedLinear, as_linear_layer
from semtune.nn.linear.frozen import plain_linear
from semtune.registry import QUANTIZATIONS
from semtune.runtime.files import ADVICE, replace, write_json

_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*",
    "generation_config.json",
)  # fmt: skip
EXPORT_DTYPE = torch.bfloat16
"""Of dequantised weights."""


def check_saveable(located: Located, precision: str, folder: Path, *, dequantize: bool) -> None:
    """Refuse what `save_model` cannot write, before anything is loaded.

    Raises:
        ModelError: a model with random weights, or layers in a quantisation that is not written to files.
        OutputError: `folder` exists and is not empty.
    """
    if located.fold_vocabulary:
        raise ModelError("A shape: model has random weights and a borrowed tokenizer, so there is no model to save.")
    if precision in QUANTIZATIONS and not dequantize and not hasattr(QUANTIZATIONS.get(precision), "empty"):
        raise ModelError(f"Layers in precision {precision} are not written to files as they are; give --dequantize.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} holds something already; give another folder with --out.")


def save_model(model: nn.Module, located: Located, precision: str, folder: Path, *, dequantize: bool = False) -> None:
    """Write a merged model to `folder`, whole or not at all. The model is of no use afterwards.

    Args:
        located: what the base model was loaded from, located anew: loading changes its config.
        precision: the one that it was loaded in.
        dequantize: write quantised layers as plain weights.

    Raises:
        OutputError: the folder cannot be written. ModelError, OutputError: see `check_saveable`.
    """
    check_saveable(located, precision, folder, dequantize=dequantize)
    stored = _with_plain_layers(model, dequantize)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            _write(model, located, precision if stored else None, made)
            if folder.exists():
                folder.rmdir()  # empty
            replace(made, folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder} cannot be written ({first_line(error)}); {ADVICE}.") from error


def _with_plain_layers(model: nn.Module, dequantize: bool) -> bool:
    """Replace frozen linear layers by plain ones where files need them; whether quantised ones remain."""
    quantised = False
    for path, module in linears_of(model).items():
        if isinstance(module, nn.Linear):
            continue
        if isinstance(module, QuantizedLinear) and not dequantize:
            quantised = True
            continue
        layer = as_linear_layer(module)
        dtype = EXPORT_DTYPE if isinstance(module, QuantizedLinear) else layer.weight_dtype
        model.set_submodule(path, plain_linear(layer.dequantize(dtype).contiguous(), layer.bias))
    return quantised


def _write(model: Any, located: Located, precision: str | None, folder: Path) -> None:
    """Fill `folder`; `precision` None: all layers are plain."""
    if precision is None:
        with quiet():
            model.save_pretrained(folder)  # transformers' names and shards
    else:
        tied = getattr(model, "all_tied_weights_keys", {})
        tensors: dict[str, Tensor] = {
            name: tensor.detach().contiguous() for name, tensor in model.state_dict().items() if name not in tied
        }
        save_file(tensors, folder / weights_name(precision), metadata={"format": "pt"})
    # Not the model's own config, in which loading has changed the attention and the cache.
    config: dict[str, Any] = located.config.to_diff_dict()
    config.pop(ATTRIBUTE, None)  # of a base that was stored quantised itself
    config |= {"architectures": [_class_name(model)], "dtype": str(_dtype(model)).removeprefix("torch.")}
    if precision is not None:
        config[FIELD] = description(precision)
    write_json(folder / "config.json", config, indent=2)
    for pattern in _TOKENIZER_FILES:
        for file in located.tokenizer_folder.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _class_name(model: nn.Module) -> str:
    """The class of transformers that `model` is of."""
    return next(c.__name__ for c in type(model).__mro__ if not c.__module__.startswith("semtune"))


def _dtype(model: nn.Module) -> torch.dtype:
    """The dtype of the weights that are no quantised layer's: the embedding's."""
    dtype: torch.dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    return dtype
