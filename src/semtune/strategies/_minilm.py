"""Registered as the embedder "minilm": all-MiniLM-L6-v2, a sentence encoder beside the run's own model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from semtune.contracts import StrategyGenerator
from semtune.models.minilm import MiniLM
from semtune.strategies._vectors import VectorEmbedder, Vectors


class MiniLMNeighbours(VectorEmbedder):
    """`models.minilm.MiniLM` as an embedder; the first text that it embeds loads it."""

    name: ClassVar[str] = "minilm"
    uses_model: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._encoder = MiniLM()

    def embed(self, texts: Sequence[str], generator: StrategyGenerator | None) -> Vectors:
        """See `MiniLM.embed`."""
        return self._encoder.embed(texts)
