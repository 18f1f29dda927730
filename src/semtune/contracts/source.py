"""What a place that models come from offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts.identity import ModelIdentity
from semtune.contracts.model import WeightStream

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options of a model source."""

    seed: int = 0
    """Seed of random weights; sources with real weights do not use it."""
    trust_remote_code: bool = False
    """Run Python code that came with the model."""
    revision: str | None = None
    """Branch, tag or commit on the hub; other sources refuse one."""


@dataclass(frozen=True, slots=True)
class Located:
    """A model found and ready to be read from this machine's disk (or generated)."""

    config: Any
    """transformers' config object."""
    tokenizer_folder: Path
    weights: Callable[[nn.Module], WeightStream]
    """Given the model on the meta device, the stream that fills it."""
    notes: tuple[str, ...] = ()
    """What a reader of results must know."""
    identity: ModelIdentity = field(default_factory=ModelIdentity)
    fold_vocabulary: bool = False
    """The tokenizer is borrowed: its ids are folded into the model's vocabulary."""


class ModelSource(Protocol):
    """A place that models come from. Construction is cheap and reads nothing."""

    prefix: str
    """"shape" where its models are called "shape:<name>"; "" where they have names of another form."""
    borrows_tokenizer: bool
    """Whether its models have no tokenizer of their own."""
    has_revisions: bool
    """Whether `SourceOptions.revision` means something to it."""

    def __init__(self, reference: str, options: SourceOptions) -> None: ...

    @classmethod
    def claims(cls, name: str) -> str | None:
        """The `reference` that `name` stands for, or None where it is no model of this source.

        Raises ModelError where it can only be meant for this source and is wrong.
        """
        ...

    def locate(self) -> Located:
        """Find the model, downloading or converting it into the local cache first. Raises ModelError."""
        ...

    def config(self) -> Any:
        """transformers' config, without weights. Raises ModelError."""
        ...

    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files; weights are neither downloaded nor converted. Raises ModelError."""
        ...

    def conversion_bytes(self) -> int:
        """Peak bytes of the process that will convert the files before the first run; 0: none. Raises ModelError."""
        ...

    def stored_dtype(self, config: Any) -> torch.dtype:
        """The dtype of the floating-point tensors in the files."""
        ...
