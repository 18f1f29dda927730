"""BM25 (Robertson & Zaragoza 2009) through the package bm25s: texts that share rare words are near.

Words are the pieces between white space of `tasks.overlap.normal_form` (case and punctuation dropped), in any language
that writes spaces; there is no stemming and no list of stop words, as BM25's idf gives frequent words little weight.
The variant is Lucene's, k1 = 1.5, b = 0.75: bm25s's own defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from semtune.contracts import StrategyGenerator
from semtune.errors import OptionError
from semtune.tasks.overlap import normal_form

K1, B = 1.5, 0.75


class Bm25:
    """Registered as the embedder "bm25"; `contracts.Embedder`."""

    name: ClassVar[str] = "bm25"
    uses_model: ClassVar[bool] = False

    def __init__(self) -> None:
        self._texts = 0
        self._index: Any = None

    def index(self, texts: Sequence[str], generator: StrategyGenerator | None = None) -> None:
        """Count the words of `texts`. Raises OptionError where bm25s is not installed."""
        try:
            import bm25s
        except ImportError as error:
            raise OptionError("BM25 needs the package bm25s, which is not installed; run pip install bm25s") from error
        words = [normal_form(text).split() for text in texts]
        self._texts, self._index = len(texts), None
        if any(words):
            self._index = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
            self._index.index(words, show_progress=False)

    def similarities(self, text: str, generator: StrategyGenerator | None = None) -> npt.NDArray[np.float32]:
        """BM25 of the text's words in each stored text; 0 where they share none. (stored texts,)"""
        known = [] if self._index is None else [w for w in normal_form(text).split() if w in self._index.vocab_dict]
        if not known:
            return np.zeros(self._texts, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Nothing: the index is made of the texts again, which takes milliseconds."""

    def load(self, folder: Path, texts: Sequence[str]) -> None:
        """Index `texts` again. Raises OptionError where bm25s is not installed."""
        self.index(texts)
