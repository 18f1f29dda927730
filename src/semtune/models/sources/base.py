"""A base class of model sources with the usual answers, and the reading of a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from semtune.errors import ModelError, first_line
from semtune.models import stored_precision
from semtune.models.quiet import quiet
from semtune.registry import ARCHITECTURES


class Source:
    """The members of `contracts.ModelSource` that most sources have in common; a source overrides what differs."""

    prefix = ""
    borrows_tokenizer = False
    has_revisions = False

    @classmethod
    def claims(cls, name: str) -> str | None:
        """The part of `name` after the source's prefix; None: it has another prefix."""
        return name.removeprefix(f"{cls.prefix}:") if cls.prefix and name.startswith(f"{cls.prefix}:") else None

    def conversion_bytes(self) -> int:
        """0: the files are read as they are."""
        return 0

    def stored_dtype(self, config: Any) -> torch.dtype:
        """The config's dtype; bf16 where it names none."""
        dtype = getattr(config.get_text_config(), "dtype", None)
        return dtype if isinstance(dtype, torch.dtype) else torch.bfloat16


def read_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """transformers' config of the model in `folder`.

    Raises:
        ModelError: it is missing, broken, needs remote code that was not allowed (a model that transformers has classes
            of its own for needs none, whatever its `auto_map` says), or describes a model that is already
            quantised or of an architecture that the installed transformers does not know.
    """
    from transformers import AutoConfig

    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"{folder} holds no config.json; give a folder in transformers' format.")
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON ({error}); download the model again.") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise ModelError(f'{file} names no "model_type"; give a folder in transformers\' format.')
    if raw.get(stored_precision.FIELD) and not stored_precision.is_ours(raw):
        raise ModelError(
            f"The model in {folder} is already quantised; give the unquantised one, which qlora then quantises."
        )
    if raw["model_type"] in ARCHITECTURES:  # importing it lets its module register the type with transformers
        ARCHITECTURES.get(raw["model_type"])
    if "auto_map" in raw and not trust_remote_code and not _has_classes_for(raw["model_type"]):
        raise ModelError(
            f"The model in {folder} brings Python code of its own (auto_map), and transformers has no class for it; "
            "read that code, then allow it with --trust-remote-code."
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        # Semtune chooses how attention runs. A config may name a kernel on the hub, which transformers would download
        # and run.
        config._attn_implementation = None
    except Exception as error:  # config classes, remote ones too, raise whatever they like
        kind = raw["model_type"]
        raise ModelError(
            f'The installed transformers cannot read the config of this "{kind}" model ({first_line(error)}).'
        ) from error
    if stored_precision.is_ours(raw):
        stored_precision.mark(config)
    return config


def _has_classes_for(model_type: Any) -> bool:
    """Whether transformers itself has a config and a causal language model for `model_type`; it then uses those."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    known: Any = CONFIG_MAPPING
    return model_type in known and known[model_type] in MODEL_FOR_CAUSAL_LM_MAPPING
