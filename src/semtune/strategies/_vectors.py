"""Embedders whose similarity is the cosine of vectors. A subclass of `VectorEmbedder` says how a text becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from semtune.contracts import StrategyGenerator
from semtune.errors import ModelError

Vectors = npt.NDArray[np.float32]
FILE = "embeddings.npy"


class VectorEmbedder:
    """`contracts.Embedder` over `embed`. The stored texts' vectors are saved, so that loading computes nothing."""

    name: ClassVar[str]
    uses_model: ClassVar[bool] = True

    def __init__(self) -> None:
        self._vectors: Vectors = np.zeros((0, 0), dtype=np.float32)

    def embed(self, texts: Sequence[str], generator: StrategyGenerator | None) -> Vectors:
        """(texts, dimensions), of any norm."""
        raise NotImplementedError

    def index(self, texts: Sequence[str], generator: StrategyGenerator | None) -> None:
        """Embed `texts`."""
        self._vectors = _unit(self.embed(texts, generator))

    def similarities(self, text: str, generator: StrategyGenerator | None) -> Vectors:
        """The cosine of the text's vector with each stored one, (stored texts,)."""
        (vector,) = _unit(self.embed([text], generator))  # (dimensions,)
        return np.asarray(self._vectors @ vector, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the vectors in NumPy's format, fp32, norm 1."""
        np.save(folder / FILE, self._vectors, allow_pickle=False)

    def load(self, folder: Path, texts: Sequence[str]) -> None:
        """Read the vectors. Raises ModelError where there is not one for each text."""
        try:
            vectors = np.load(folder / FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelError(f"{folder / FILE} does not hold the texts' embeddings; run it again.") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or vectors.dtype != np.float32:
            raise ModelError(f"{folder / FILE} does not belong to the texts beside it; run it again.")
        self._vectors = vectors


class HiddenStates(VectorEmbedder):
    """Registered as the embedder "hidden-states": the mean of the run's own model's last hidden states."""

    name: ClassVar[str] = "hidden-states"

    def embed(self, texts: Sequence[str], generator: StrategyGenerator | None) -> Vectors:
        """See `contracts.StrategyGenerator.embed`."""
        assert generator is not None  # `uses_model` says so
        return generator.embed(texts)


def _unit(vectors: Vectors) -> Vectors:
    """`vectors` with norm 1; a zero vector stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=np.float32)
