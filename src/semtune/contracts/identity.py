"""Which base model a run belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a run stores of its base model, to recognise it later."""

    revision: str | None = None
    """The hub's commit; None: the model is not from the hub."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Part ("weights", "config", "tokenizer") -> digest of its files; empty for a model without files."""
