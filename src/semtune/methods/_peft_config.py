"""Which `adapter_config.json` of PEFT describes what `LowRankLinear` computes; every other one is refused by name.

PEFT's `LoraConfig` has some forty keys. Each changes what the adapter computes, or how training started, or only where
PEFT puts adapters; a key that is not known here may do the first, so its value must be empty.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.errors import ModelError
from semtune.methods._peft_common import ABOUT_TRAINING, check_keys
from semtune.nn.low_rank import scale_of
from semtune.runtime.files import read_json

_CHECKED_ELSEWHERE = frozenset(
    {"r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"}
)
_WITHOUT_EFFECT = frozenset(
    {
        *ABOUT_TRAINING,
        # Where adapters are: the tensors of the file say it again, by name, and are compared one by one.
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters",
        # How training of low-rank adapters went.
        "lora_dropout", "ensure_weight_tying", "runtime_config", "loftq_config", "eva_config", "corda_config",
        "lora_ga_config", "megatron_core", "megatron_config",
        "qalora_group_size",  # read where `use_qalora` is set alone, which is refused
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
        config = read_json(path)
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}; give the folder of a finished run.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); it may be cut short.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not an adapter's config; give the folder of a finished run.")
    return config


def check_supported(config: Mapping[str, Any], path: Path) -> None:
    """Check that the adapter is plain LoRA or DoRA over an unchanged base. Raises ModelError, which names the key."""
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{path} describes a {config.get('peft_type')} adapter; only LORA adapters can be read")
    check_keys(config, path, _CHECKED_ELSEWHERE | _WITHOUT_EFFECT, _NEUTRAL, _OTHERWISE)
    _check_start(config.get("init_lora_weights", True), path)


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """Rank and scale of the adapter on one layer."""

    rank: int
    scale: float
    """The factor on B A."""
    by_pattern: bool
    """Whether `rank_pattern` or `alpha_pattern` names the layer, so that it may differ from all others."""


def layer_configs(config: Mapping[str, Any], paths: Iterable[str], path: Path) -> dict[str, LayerConfig]:
    """What the config at `path` says of the adapter on each layer in `paths`. Raises ModelError.

    A key of a pattern is a regular expression for a layer's path or the end of it; the first that matches counts.
    """
    rank: Any = config.get("r")
    alpha: Any = config.get("lora_alpha")
    stabilized = config.get("use_rslora", False)
    if not _is_rank(rank) or not _is_alpha(alpha):
        raise ModelError(f"{path} does not say r and lora_alpha as numbers; give the folder of a finished run.")
    if not isinstance(stabilized, bool):
        raise ModelError(f"{path} says use_rslora = {stabilized!r}, which must be true or false; make the adapter anew")
    ranks = _pattern(config, "rank_pattern", _is_rank, path)
    alphas = _pattern(config, "alpha_pattern", _is_alpha, path)
    found = {}
    for layer in paths:
        own_rank, own_alpha = _matching(ranks, layer), _matching(alphas, layer)
        rank_here, alpha_here = rank if own_rank is None else own_rank, alpha if own_alpha is None else own_alpha
        scale = scale_of(rank_here, alpha_here, rank_stabilized=stabilized)
        found[layer] = LayerConfig(rank_here, scale, own_rank is not None or own_alpha is not None)
    return found


def _pattern(config: Mapping[str, Any], key: str, valid: Callable[[Any], bool], path: Path) -> Mapping[str, Any]:
    """`rank_pattern` or `alpha_pattern`, {} where there is none. Raises ModelError."""
    pattern = config.get(key) or {}
    if not isinstance(pattern, dict) or not all(valid(value) for value in pattern.values()):
        raise ModelError(f"{path} has a {key} that does not give numbers by layer; make the adapter anew")
    try:
        for name in pattern:
            re.compile(name)
    except re.error as error:
        raise ModelError(f'{path} has "{name}" in {key}, which is no regular expression; make it anew') from error
    return pattern


def _matching(pattern: Mapping[str, Any], layer: str) -> Any:
    """The value of the first key that matches `layer` as PEFT matches it; None: there is none."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", layer)), None)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_alpha(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and math.isfinite(value)


def _check_start(start: Any, path: Path) -> None:
    """Refuse an adapter that was trained over a base from which PEFT had subtracted the adapter's start."""
    if isinstance(start, bool) or (isinstance(start, str) and start.lower() in _STARTS_ON_THE_BASE):
        return
    raise ModelError(
        f"{path} starts with init_lora_weights={start!r}, which changes the base model's weights, so the adapter does "
        "not fit the model as published; convert it with PEFT, by save_pretrained(folder, "
        "path_initial_model_for_weight_conversion=the untrained adapter), and give that folder"
    )
