"""Reads and writes adapters in the file format of PEFT (huggingface/peft), in both directions.

`adapter_config.json` describes the adapters and their layers; `adapter_model.safetensors` has, for a layer at PATH,
`base_model.model.PATH.lora_A.weight`, `….lora_B.weight` and, for DoRA, `….lora_magnitude_vector`.

Where a start has changed the base to W - s B' A' (`_starts`), the file has an ordinary adapter of twice the rank over
the model as published, as PEFT converts such adapters (`path_initial_model_for_weight_conversion`):

    W - s B' A' + s B A = W + s [B | -B'] [A ; A'],   r doubled, and lora_alpha too (rsLoRA: times sqrt(2))

PEFT reads it so. `load` splits it again, and checks that B' A' is what the start has subtracted from the base here: on
the same machine equal to the bit, elsewhere up to the rounding of the singular value decomposition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._peft_common import PREFIX, head_of_config, module_names
from semtune.methods._peft_config import LayerConfig, check_supported, layer_configs, read_config
from semtune.nn.low_rank import Factors, LowRankLinear
from semtune.records import LowRankSettings
from semtune.runtime.files import write_json

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_SAME_START = 1e-3
"""Largest relative difference of two products B' A' that count as the same start."""


def save(
    model: nn.Module, adapters: Mapping[str, LowRankLinear], folder: Path, settings: LowRankSettings, base_model: str
) -> None:
    """Write `adapters` (by module path in `model`) and their config to `folder`. Raises OutputError."""
    config = {
        **head_of_config("LORA", base_model),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "lora_dropout": settings.dropout,
        "target_modules": module_names(model, adapters),
        "use_dora": any(adapter.magnitude is not None for adapter in adapters.values()),
        **_sizes(adapters, settings),
    }
    # Weights first: a config without weights would look like a finished adapter.
    write_tensors(folder / WEIGHTS_FILE, _by_peft_name(adapters))
    write_json(folder / CONFIG_FILE, config, indent=2)


def load(adapters: Mapping[str, LowRankLinear], folder: Path) -> None:
    """Read the files in `folder` into `adapters`, which must be of the same kind and start, on the same layers.

    Rank and scale must be the same too, but where the config's `rank_pattern` or `alpha_pattern` names a layer: its
    adapter gets those of the file. Raises ModelError for a missing, broken or different file; `adapters` are then
    unchanged.
    """
    layers = _check_config(adapters, folder / CONFIG_FILE)
    tensors: dict[str, Tensor] = {}
    for path, adapter in adapters.items():
        rank = layers[path].rank
        shapes: dict[str, tuple[int, ...]] = {
            "lora_A.weight": (rank, adapter.in_features),
            "lora_B.weight": (adapter.out_features, rank),
        }
        if adapter.magnitude is not None:
            shapes["lora_magnitude_vector"] = (adapter.out_features,)
        for leaf, shape in shapes.items():
            tensors[_peft_name(path, leaf)] = torch.empty(shape, dtype=adapter.lora_A.dtype)
    read_tensors(folder / WEIGHTS_FILE, tensors)
    for path, adapter in adapters.items():
        _check_start(adapter, _factors(tensors, path), folder / WEIGHTS_FILE)
    for path, adapter in adapters.items():
        _install(adapter, layers[path], _factors(tensors, path), tensors.get(_peft_name(path, "lora_magnitude_vector")))


def _peft_name(path: str, leaf: str) -> str:
    return f"{PREFIX}{path}.{leaf}"


def _factors(tensors: Mapping[str, Tensor], path: str) -> Factors:
    """A and B of the file for one layer."""
    return Factors(tensors[_peft_name(path, "lora_A.weight")], tensors[_peft_name(path, "lora_B.weight")])


def _by_peft_name(adapters: Mapping[str, LowRankLinear]) -> dict[str, Tensor]:
    """The tensors of the file."""
    tensors: dict[str, Tensor] = {}
    for path, adapter in adapters.items():
        a, b = adapter.lora_A.detach(), adapter.lora_B.detach()
        if (subtracted := adapter.subtracted) is not None:
            a, b = torch.cat((a, subtracted.a)), torch.cat((b, -subtracted.b), dim=1)
        tensors[_peft_name(path, "lora_A.weight")] = a
        tensors[_peft_name(path, "lora_B.weight")] = b
        if adapter.magnitude is not None:
            tensors[_peft_name(path, "lora_magnitude_vector")] = adapter.magnitude
    return tensors


def _sizes(adapters: Mapping[str, LowRankLinear], settings: LowRankSettings) -> dict[str, Any]:
    """The config's keys about rank and scale; patterns for layers that got those of a file with patterns."""
    doubling = 2 if any(adapter.subtracted is not None for adapter in adapters.values()) else 1
    stabilized = settings.scaling == "rslora"
    rank = settings.rank * doubling
    alpha = settings.alpha * (math.sqrt(doubling) if stabilized else doubling)
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for path, adapter in adapters.items():
        own_rank = adapter.rank * doubling
        own_alpha = adapter.scale * (math.sqrt(own_rank) if stabilized else own_rank)
        if own_rank != rank:
            ranks[re.escape(path)] = own_rank
        if not math.isclose(own_alpha, alpha):
            alphas[re.escape(path)] = own_alpha
    return {
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "use_rslora": stabilized,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    }


def _check_config(adapters: Mapping[str, LowRankLinear], path: Path) -> dict[str, LayerConfig]:
    """What the config at `path` says of each adapter's layer. Raises ModelError unless it describes `adapters`."""
    config = read_config(path)
    check_supported(config, path)
    layers = layer_configs(config, adapters, path)
    dora = bool(config.get("use_dora"))
    for name, adapter in adapters.items():
        _check_sizes(adapter, layers[name], config, path)
        if (adapter.magnitude is not None) != dora:
            right = "with" if dora else "without"
            raise ModelError(
                f"{path} is {right} DoRA's magnitudes, the model was prepared otherwise; change the method"
            )
    return layers


def _check_sizes(adapter: LowRankLinear, layer: LayerConfig, config: Mapping[str, Any], path: Path) -> None:
    """Raises ModelError unless rank and scale of the file are the adapter's, or those of a pattern."""
    doubled = adapter.subtracted is not None
    if layer.by_pattern:
        if doubled:
            raise ModelError(
                f"{path} has a rank_pattern or alpha_pattern, which cannot be read into adapters whose start changed "
                "the base; give start kaiming"
            )
        return
    rank, alpha = layer.rank, config["lora_alpha"]
    if doubled and rank != 2 * adapter.rank:
        raise ModelError(
            f"{path} is of rank {rank}; of an adapter of rank {adapter.rank} whose start changed the base the file has "
            f"rank {2 * adapter.rank}; give the start and rank that it was made with"
        )
    if not doubled and rank != adapter.rank:
        raise ModelError(f"{path} is of rank {rank}, the model was prepared for {adapter.rank}; give rank {rank}")
    if not math.isclose(adapter.scale, layer.scale):
        stabilized = config.get("use_rslora", False)
        given = alpha / (math.sqrt(2) if stabilized else 2) if doubled else alpha
        raise ModelError(
            f"{path} scales adapters by {layer.scale:g}, the model was prepared for {adapter.scale:g}; give alpha "
            f"{given:g} and scaling {'rslora' if stabilized else 'standard'}"
        )


def _check_start(adapter: LowRankLinear, stored: Factors, path: Path) -> None:
    """Raises ModelError unless `stored` has, in its second half, what the adapter's start subtracted from the base."""
    mine = adapter.subtracted
    if mine is None:
        return
    rank = adapter.rank
    theirs = Factors(stored.a[rank:].to(mine.a.device), -stored.b[:, rank:].to(mine.b.device))
    if torch.equal(mine.a, theirs.a) and torch.equal(mine.b, theirs.b):
        return
    product = mine.b @ mine.a  # (out, r) x (r, in) -> (out, in)
    difference = torch.linalg.vector_norm(product - theirs.b @ theirs.a) / torch.linalg.vector_norm(product)
    if not difference <= _SAME_START:
        raise ModelError(
            f"{path} belongs to a base that was changed by another start (the parts subtracted differ by "
            f"{float(difference):.1e}); give the start, loftq_iterations and svd_iterations that it was made with"
        )


@torch.no_grad()
def _install(adapter: LowRankLinear, layer: LayerConfig, stored: Factors, magnitude: Tensor | None) -> None:
    """Copy the tensors of the file into the adapter, which gets the rank and scale of a pattern first."""
    if layer.by_pattern and layer.rank != adapter.rank:
        adapter.resize(layer.rank)
    if layer.by_pattern:
        adapter.scale = layer.scale
    adapter.lora_A.copy_(stored.a[: adapter.rank])
    adapter.lora_B.copy_(stored.b[:, : adapter.rank])
    if adapter.magnitude is not None and magnitude is not None:
        adapter.magnitude.copy_(magnitude)
