"""Which architectures run: those on the tested list and those that pass the self-check; others are refused by name.

The tested list (`tested.json`) is written for one version of transformers by the test that goes over all its
architectures (tests/models/test_architectures.py). An entry holds for configs whose small copy has the structure of
the type's default config. Everything else is checked on this machine and remembered in the cache folder, by that
structure and the library versions.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from semtune.errors import ModelError, OutputError, first_line
from semtune.registry import ARCHITECTURES, BUILT_IN_ARCHITECTURES
from semtune.runtime.cache import cache_folder
from semtune.runtime.files import read_json, write_json
from semtune.runtime.sources import sources_digest

RIGHT = "right"
_TESTED_FOR_ALL = ("num_key_value_heads", "attention_bias", "mlp_bias")
_STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary scaling whose frequencies do not depend on the texts; transformers computes them."""


@functools.cache
def verdicts() -> dict[str, Any]:
    """The tested list: {"transformers": version, "types": {type: "right" or the reason why it is refused}}."""
    text = (resources.files("semtune.models") / "tested.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check_supported(config: Any, *, trust_remote_code: bool = False) -> None:
    """Refuse a config whose model semtune would run otherwise than transformers does.

    Raises:
        ModelError: with the reason.
    """
    reason = refusal(config, trust_remote_code=trust_remote_code)
    if reason is not None:
        raise ModelError(
            f'The architecture "{config.model_type}" is refused, as it {reason}; choose a model of another one '
            "(`semtune list architectures`)."
        )


def refusal(config: Any, *, trust_remote_code: bool = False) -> str | None:
    """Why semtune does not run the model of `config`; None: it does. Raises ModelError: it is no causal model."""
    from semtune.models.architectures.stock import STATEFUL, is_stateful
    from semtune.models.tiny_config import structure

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        return "is an encoder-decoder model; semtune tunes decoder-only language models"
    if kind not in ARCHITECTURES and is_stateful(_causal_class(config)):
        return STATEFUL
    try:
        fields = structure(config)
    except Exception as error:  # noqa: BLE001 - config classes raise whatever they like
        return None if _from_plugin(kind) else f"cannot be checked on a small copy ({first_line(error)})"
    if _tested_as_default(config, fields):
        return None
    return _remembered(config, fields, trust_remote_code)


def _tested_as_default(config: Any, fields: dict[str, Any]) -> bool:
    from transformers import __version__

    from semtune.models.tiny_config import structure

    kind = config.model_type
    table = verdicts()
    if table["transformers"] != __version__ or table["types"].get(kind) != RIGHT or _from_plugin(kind):
        return False
    return _compared(structure(type(config)())) == _compared(fields)


def _compared(fields: dict[str, Any]) -> dict[str, Any]:
    """What of a structure must be that of the tested default: not grouped heads, biases and static rotary scaling."""
    kept = {name: value for name, value in fields.items() if name not in _TESTED_FOR_ALL}
    rotary = kept.get("rope_parameters")
    if isinstance(rotary, dict) and rotary.get("rope_type") in _STATIC_ROTARY:
        kept["rope_parameters"] = {k: v for k, v in rotary.items() if k == "partial_rotary_factor"}
    return kept


def _causal_class(config: Any) -> type | None:
    """transformers' causal language model for `config`; None: it has none, or it comes from remote code."""
    from transformers import AutoModelForCausalLM

    mapping: Any = AutoModelForCausalLM._model_mapping
    found: type | None = mapping.get(type(config), None)
    return found


def _from_plugin(kind: str) -> bool:
    return kind in ARCHITECTURES and kind not in BUILT_IN_ARCHITECTURES


def _remembered(config: Any, fields: dict[str, Any], trust_remote_code: bool) -> str | None:
    import torch
    import transformers

    from semtune.models.self_check import mismatch

    kind = config.model_type
    plugin = _from_plugin(kind)
    if plugin or trust_remote_code:  # their code may change without a version
        return mismatch(config, trust_remote_code=trust_remote_code, trusted=plugin)
    key = json.dumps(
        [_checked_code(), torch.__version__, transformers.__version__, kind, fields],
        sort_keys=True, default=str,
    )  # fmt: skip
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    file = _file(digest)
    if file is not None and file.is_file():
        with contextlib.suppress(OSError, ValueError, KeyError):
            reason: str | None = read_json(file)["refusal"]
            return reason
    reason = mismatch(config)
    if file is not None:
        with contextlib.suppress(OutputError):  # without it the next run checks again
            write_json(file, {"model_type": kind, "refusal": reason})
    return reason


@functools.cache
def _checked_code() -> str:
    """Of the code whose results are checked, compiled loops included, so that verdicts on another are not read."""
    root = Path(__file__).parents[1]
    return sources_digest(root / "models", root / "nn")


def _file(digest: str) -> Path | None:
    try:
        return cache_folder() / "self-checks" / f"{digest}.json"
    except OutputError:
        return None
