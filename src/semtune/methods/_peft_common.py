"""What adapters of every kind share in PEFT's file format: names of modules, and keys of `adapter_config.json`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from semtune.errors import ModelError

PREFIX = "base_model.model."
"""What PEFT puts before a module's path in the names of tensors."""
ABOUT_TRAINING = frozenset(
    {"peft_type", "inference_mode", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version"}
)
"""Keys of every kind of config that say how training went, which is over; `peft_type` is compared by itself."""
WITHOUT_EFFECT = ABOUT_TRAINING | {"target_modules", "exclude_modules", "feedforward_modules"}
"""These, and keys that say where adapters are: the tensors say it again, by name, and are compared one by one."""


def check_keys(
    config: Mapping[str, Any],
    path: Path,
    known: Collection[str],
    neutral: Mapping[str, Any] = MappingProxyType({}),
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Check that the config at `path` sets no key that is not known.

    A key that is not known may change what the adapter computes, so its value must be empty.

    Args:
        known: keys whose every value is right, or compared elsewhere.
        neutral: key -> a value that changes nothing although it is not empty.
        reasons: key -> why it is not supported, where that says more than "make the adapter without it".

    Raises ModelError, which names the key.
    """
    for key, value in config.items():
        if value and key not in known and value != neutral.get(key):
            reason = f", {reasons[key]}" if key in reasons else "; make the adapter without it"
            raise ModelError(f"{path} sets {key}, which is not supported{reason}")


def check_kind(config: Mapping[str, Any], path: Path, kind: str, known: Collection[str] = ()) -> None:
    """Check that the config at `path` describes an adapter of `kind` and sets no key that is not known.

    Args:
        kind: PEFT's `peft_type`.
        known: keys beside `WITHOUT_EFFECT` whose every value is right.

    Raises ModelError, which names the key.
    """
    if config.get("peft_type") != kind:
        raise ModelError(f"{path} describes a {config.get('peft_type')} adapter; only {kind} adapters fit this method")
    check_keys(config, path, {*WITHOUT_EFFECT, *known})


def module_names(model: nn.Module, paths: Iterable[str]) -> list[str]:
    """Names by which PEFT finds exactly the modules at `paths`: last components where these suffice, else the paths."""
    wanted = set(paths)
    names = {path.rpartition(".")[2] for path in wanted}
    found = {path for path, _ in model.named_modules() if path.rpartition(".")[2] in names}
    return sorted(names) if found == wanted else sorted(wanted)


def head_of_config(kind: str, base_model: str) -> dict[str, Any]:
    """The keys that every adapter's config begins with."""
    return {
        "peft_type": kind,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "modules_to_save": None,
    }
