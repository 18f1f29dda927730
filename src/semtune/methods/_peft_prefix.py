"""Reads and writes learned prefixes in the file format of PEFT (huggingface/peft), in both directions.

`adapter_config.json` says how many positions, layers and heads there are, and `adapter_model.safetensors` has one
tensor, `prompt_embeddings` (length, layers · 2 · kv_heads · head_dim): for each position the keys of the first layer,
head by head, its values, the keys of the second layer, and so on. With grouped-query attention PEFT's
`num_attention_heads` and `token_dim` are those of keys and values. A file holds the resulting keys and values alone:
PEFT too drops the MLP of `prefix_projection` when it saves.

PEFT's keys count as tokens at positions 0 to length - 1 (see `nn.learned_prefix`), which equals a prefix here only
where the rotation of keys is known. For any other model the file has a type of its own, which PEFT refuses, and a
tensor for the keys and one for the values of every layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._peft_common import ABOUT_TRAINING, check_keys, head_of_config
from semtune.methods._peft_config import read_config
from semtune.methods._peft_files import CONFIG_FILE, WEIGHTS_FILE
from semtune.nn.learned_prefix import AnyPrefix, LearnedPrefix
from semtune.runtime.files import write_json

_PEFT, _OWN = "PREFIX_TUNING", "SEMTUNE_PREFIX"
_SIZES: Mapping[str, str] = {
    "num_virtual_tokens": "prefix_length",
    "num_layers": "layers",
    "num_attention_heads": "key-value heads",
    "token_dim": "numbers of a key",
}
"""Keys of the config that say the tensor's shape -> what a message calls them."""
_WITHOUT_EFFECT = frozenset(
    {
        *ABOUT_TRAINING,
        "prefix_projection", "encoder_hidden_size", "init_weights", "runtime_config",  # the file holds their result
    }
)  # fmt: skip
_NEUTRAL: Mapping[str, Any] = {"num_transformer_submodules": 1}
"""Values that change nothing although they are not empty."""


def save(prefixes: Mapping[str, AnyPrefix], folder: Path, base_model: str) -> None:
    """Write the keys and values of `prefixes` (by module path) and their config to `folder`. Raises OutputError."""
    config = {
        **head_of_config(_type_of(prefixes), base_model),
        "num_transformer_submodules": 1,
        "prefix_projection": False,
        **_sizes_of(prefixes),
    }
    # Weights first: a config without weights would look like a finished adapter.
    write_tensors(folder / WEIGHTS_FILE, stored_tensors(prefixes))
    write_json(folder / CONFIG_FILE, config, indent=2)


def load(model: nn.Module, prefixes: Mapping[str, AnyPrefix], folder: Path) -> None:
    """Read the files in `folder` into the `prefixes` of `model`, which lose their MLP.

    Raises ModelError for a missing, broken or different file; the model is then unchanged.
    """
    _check_config(prefixes, folder / CONFIG_FILE)
    read = {name: torch.empty_like(tensor) for name, tensor in stored_tensors(prefixes).items()}
    read_tensors(folder / WEIGHTS_FILE, read)
    install(model, prefixes, read)


@torch.no_grad()
def stored_tensors(prefixes: Mapping[str, AnyPrefix]) -> dict[str, Tensor]:
    """The tensors of a file, by name."""
    if _type_of(prefixes) == _PEFT:
        rows = [_as_rows(x) for prefix in prefixes.values() for x in prefix.stored()]
        return {"prompt_embeddings": torch.cat(rows, dim=1)}
    parts = ("keys", "values")
    return {
        f"{path}.{part}": x for path, prefix in prefixes.items() for part, x in zip(parts, prefix.stored(), strict=True)
    }


@torch.no_grad()
def install(model: nn.Module, prefixes: Mapping[str, AnyPrefix], tensors: Mapping[str, Tensor]) -> None:
    """Set the keys and values of `prefixes` to those of `stored_tensors`, as plain parameters of `model`."""
    embeddings = tensors.get("prompt_embeddings")
    parts = iter(() if embeddings is None else embeddings.chunk(2 * len(prefixes), dim=1))
    for path, prefix in prefixes.items():
        plain: LearnedPrefix = prefix.plain()
        for part, parameter in (("keys", plain.keys), ("values", plain.values)):
            if embeddings is None:
                parameter.copy_(tensors[f"{path}.{part}"])
            else:  # (length, kv_heads · head_dim) -> (kv_heads, length, head_dim)
                parameter.copy_(next(parts).view(parameter.shape[1], len(parameter), -1).transpose(0, 1))
        model.set_submodule(path, plain)


def _as_rows(x: Tensor) -> Tensor:
    """(kv_heads, length, head_dim) -> (length, kv_heads · head_dim)."""
    return x.transpose(0, 1).flatten(1)


def _type_of(prefixes: Mapping[str, AnyPrefix]) -> str:
    """PEFT's type where PEFT computes the same from the file, else one of our own."""
    shapes = {shape for prefix in prefixes.values() for shape in prefix.shapes}
    same = len(shapes) == 1 and all(prefix.cos is not None for prefix in prefixes.values())
    return _PEFT if same else _OWN


def _sizes_of(prefixes: Mapping[str, AnyPrefix]) -> dict[str, int]:
    """The config's numbers; of the first layer where layers differ, as the tensors then say their shapes themselves."""
    kv_heads, length, head_dim = next(iter(prefixes.values())).shapes[0]
    values = (length, len(prefixes), kv_heads, kv_heads * head_dim)
    return dict(zip(_SIZES, values, strict=True))


def _check_config(prefixes: Mapping[str, AnyPrefix], path: Path) -> None:
    """Raises ModelError unless the config at `path` describes `prefixes`."""
    config = read_config(path)
    kind, expected_kind = config.get("peft_type"), _type_of(prefixes)
    if kind != expected_kind:
        raise ModelError(f"{path} describes a {kind} adapter; only {expected_kind} adapters can be read for this model")
    check_keys(config, path, {*_SIZES, *_WITHOUT_EFFECT}, _NEUTRAL)
    for key, expected in _sizes_of(prefixes).items():
        if config.get(key) != expected:
            raise ModelError(
                f"{path} has {config.get(key)} {_SIZES[key]} ({key}), the model was prepared for {expected}; give the "
                "model and the prefix length that it was made with"
            )
