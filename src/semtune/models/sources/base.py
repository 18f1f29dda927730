"""What every source of models answers with, and the reading of a config that several of them share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts import WeightStream
from semtune.errors import ModelError
from semtune.models.quiet import quiet

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What a caller may tell a source."""

    seed: int = 0
    """Of random weights; other sources do not use it."""
    trust_remote_code: bool = False
    """Run Python code that came with the model."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


@dataclass(frozen=True, slots=True)
class Located:
    """A model found and ready to be read from this machine's disk (or generated)."""

    config: Any
    """transformers' config object."""
    tokenizer_folder: Path
    weights: Callable[[nn.Module], WeightStream]
    """Given the model without weights, the stream that fills it."""
    notes: tuple[str, ...] = ()
    """What a reader of results must know."""
    fold_vocabulary: bool = False
    """The tokenizer is borrowed: its ids are folded into the model's vocabulary."""


class Source(Protocol):
    """A place that models come from. Construction is cheap and reads nothing."""

    def __init__(self, reference: str, options: SourceOptions) -> None: ...

    def locate(self) -> Located:
        """Find the model, downloading or converting it into the local cache first. Raises ModelError."""
        ...


def read_config(folder: Path, *, trust_remote_code: bool) -> Any:
    """transformers' config of the model in `folder`.

    Raises:
        ModelError: it is missing, broken, needs remote code that was not allowed, or describes a model that is already
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
    if not isinstance(raw, dict) or "model_type" not in raw:
        raise ModelError(f'{file} names no "model_type"; give a folder in transformers\' format.')
    if "auto_map" in raw and not trust_remote_code:
        raise ModelError(
            f"The model in {folder} brings Python code of its own (auto_map); read that code, then allow it with "
            "--trust-remote-code."
        )
    if raw.get("quantization_config"):
        raise ModelError(
            f"The model in {folder} is already quantised; give the unquantised one, which qlora then quantises."
        )
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # config classes, remote ones too, raise whatever they like
        kind = raw["model_type"]
        raise ModelError(
            f'The installed transformers cannot read the config of this "{kind}" model ({_first_line(error)}).'
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
