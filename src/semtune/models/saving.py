"""Writes a merged model to a folder: config, weights and tokenizer.

Plain weights become a folder in transformers' format, written by transformers, in the widest dtype among them (merged
weights are in the compute dtype, others may have stayed in their file's half precision). Linear layers of a
quantisation that can be stored stay in its codes, in a folder that semtune reads (`stored_precision`); `dequantize`
writes them as plain weights instead, and everything in bf16.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterable
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
BIAS_FLAGS = ("attention_bias", "mlp_bias")
"""Fields of transformers' configs that give linear layers a bias."""
EXPORT_DTYPE = torch.bfloat16
"""Of dequantised weights."""


def check_saveable(located: Located, folder: Path) -> None:
    """Refuse what `save_model` cannot write, before anything is loaded.

    Raises:
        ModelError: a model with random weights.
        OutputError: `folder` exists and is not empty.
    """
    if located.fold_vocabulary:
        raise ModelError("A shape: model has random weights and a borrowed tokenizer, so there is no model to save.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} holds something already; give another folder with --out.")


def make_mergeable(model: nn.Module) -> bool:
    """Give wrapped layers that refuse a merge (4-bit weights) plain weights of the same values in bf16, in place.

    Returns:
        Whether there were any.
    """
    found = False
    for module in model.modules():
        base = getattr(module, "base", None)
        if isinstance(base, QuantizedLinear) and base.merge_refusal is not None:
            module.base = plain_linear(base.dequantize(EXPORT_DTYPE).contiguous(), base.bias)
            found = True
    return found


def save_model(model: nn.Module, located: Located, precision: str, folder: Path, *, dequantize: bool = False) -> None:
    """Write a merged model to `folder`, whole or not at all. The model is of no use afterwards.

    Args:
        located: what the base model was loaded from, located anew: loading changes its config.
        precision: the one that it was loaded in.
        dequantize: write quantised layers as plain weights, and all weights of a model loaded in 4 bits in bf16.

    Raises:
        ModelError: layers in a quantisation that is not written to files; see also `check_saveable`.
        OutputError: the folder cannot be written, or holds something.
    """
    check_saveable(located, folder)
    quantised = any(isinstance(module, QuantizedLinear) for module in linears_of(model).values())
    stored = quantised and not dequantize
    if stored and not hasattr(QUANTIZATIONS.get(precision), "empty"):
        raise ModelError(f"Layers in precision {precision} are not written to files as they are; give --dequantize.")
    if not stored:
        narrow = quantised or (dequantize and precision in QUANTIZATIONS)
        _make_plain(model, EXPORT_DTYPE if narrow else _widest_dtype(model))
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


def _widest_dtype(model: nn.Module) -> torch.dtype:
    """The dtype that holds all weights, for example fp32 where one is fp32 and others bf16."""
    layers = {as_linear_layer(module).weight_dtype for module in linears_of(model).values()}
    return _widest([*layers, *(p.dtype for p in model.parameters())])


def _widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    return functools.reduce(torch.promote_types, (dtype for dtype in dtypes if dtype.is_floating_point))


def _make_plain(model: nn.Module, dtype: torch.dtype) -> None:
    """Give all weights `dtype`, and linear layers of other kinds plain ones."""
    for path, module in linears_of(model).items():
        if not isinstance(module, nn.Linear):
            layer = as_linear_layer(module)
            model.set_submodule(path, plain_linear(layer.dequantize(dtype).contiguous(), layer.bias))
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _write(model: Any, located: Located, precision: str | None, folder: Path) -> None:
    """Fill `folder`; `precision` None: all layers are plain."""
    # Not the model's own config, in which loading has changed the attention and the cache.
    config: dict[str, Any] = located.config.to_diff_dict()
    config.pop(ATTRIBUTE, None)  # of a base that was stored quantised itself
    if precision is None:
        with quiet():
            model.save_pretrained(folder)  # transformers' names and shards
        dtype = _widest_dtype(model)
    else:
        weights, buffers = _stored_tensors(model)
        file = folder / weights_name(precision)
        save_file(weights | buffers, file, metadata={"format": "pt"})
        file.chmod(0o644)
        dtype = _widest(weight.dtype for weight in weights.values())
        config[FIELD] = description(precision)
    _declare_biases(config, model.config)
    config |= {"architectures": [_class_name(model)], "dtype": str(dtype).removeprefix("torch.")}
    write_json(folder / "config.json", config, indent=2)
    for pattern in _TOKENIZER_FILES:
        for found in located.tokenizer_folder.glob(pattern):
            shutil.copyfile(found, folder / found.name)


def _declare_biases(config: dict[str, Any], changed: Any) -> None:
    """Set the fields that a merge sets in the model's own config (BitFit adds biases), in the part for text."""
    text = changed.get_text_config()
    names = [name for name in changed.sub_configs if getattr(changed, name, None) is text]
    part = config.setdefault(names[0], {}) if names else config
    part |= {flag: True for flag in BIAS_FLAGS if getattr(text, flag, False)}


def _stored_tensors(model: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the file of a model with quantised layers has: parameters and buffers by name, tied ones once.

    A parameter is in bf16 where that loses nothing: so the base's file has it, which was then loaded in fp32.
    """
    names = {name for name, _ in model.named_parameters()}
    tied = getattr(model, "all_tied_weights_keys", {})
    tensors = {name: t.detach().contiguous() for name, t in model.state_dict().items() if name not in tied}
    weights = {name: _narrowed(tensor) for name, tensor in tensors.items() if name in names}
    return weights, {name: tensor for name, tensor in tensors.items() if name not in names}


def _narrowed(weight: Tensor) -> Tensor:
    """`weight` in bf16 where every element is a bf16 number, else as it is."""
    narrow = weight.to(torch.bfloat16)
    return narrow if torch.equal(narrow.to(weight.dtype), weight) else weight


def _class_name(model: nn.Module) -> str:
    """The class of transformers that `model` is of."""
    return next(c.__name__ for c in type(model).__mro__ if not c.__module__.startswith("semtune"))
