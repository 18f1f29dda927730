"""The nearest training texts of a text, by any registered embedder: what `retrieval` and `knn-vote` share.

No text is its own neighbour, nor is a near-duplicate: those that `tasks.overlap` calls the same (normal forms equal) or
nearly the same (Jaccard similarity of character 5-grams at least 0.8) are passed over. That makes predictions for
training texts leave-one-out, and it holds for every text, so that a copy of a training text in dev does not bring its
label along.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semtune.contracts import Embedder, StrategyGenerator
from semtune.errors import DataError
from semtune.records import Example
from semtune.registry import EMBEDDERS
from semtune.strategies._files import example_from, plain_example
from semtune.tasks.overlap import NearDuplicates


class Neighbours:
    """Labelled training texts and an index over them. Raises UnknownNameError for an unknown embedder."""

    def __init__(self, embedder: str) -> None:
        self._embedder: Embedder = EMBEDDERS.get(embedder)()
        self._take(())

    @property
    def uses_model(self) -> bool:
        """Whether finding neighbours calls the run's own model."""
        return self._embedder.uses_model

    def fit(self, train: Sequence[Example]) -> None:
        """Store the labelled texts. Raises DataError where there are none."""
        labelled = [e for e in train if e.labels is not None]
        if not labelled:
            raise DataError("There are no labelled training texts to retrieve; use zero-shot, or label some.")
        self._take(labelled)

    def index(self, generator: StrategyGenerator | None) -> None:
        """Index the stored texts. Raises OptionError where a package is missing."""
        self._embedder.index(self._texts, generator)

    def nearest(self, text: str, count: int, generator: StrategyGenerator | None) -> list[tuple[Example, float]]:
        """The `count` nearest examples with their similarities, the nearest first; of equals, the earlier one first."""
        similarities = self._embedder.similarities(text, generator)
        duplicate = self._duplicates.of(text)
        found: list[tuple[Example, float]] = []
        for i in np.argsort(-similarities, kind="stable").tolist():
            if len(found) == count:
                break
            if not duplicate(i):
                found.append((self._examples[i], float(similarities[i])))
        return found

    def plain(self) -> list[dict[str, Any]]:
        """The stored examples as plain values."""
        return [plain_example(e) for e in self._examples]

    def restore(self, rows: Sequence[Any]) -> None:
        """Take back what `plain` returned. Raises KeyError, TypeError, ValueError for other rows."""
        self._take([example_from(row) for row in rows])

    def save(self, folder: Path) -> None:
        """Write the embedder's own files to `folder`."""
        self._embedder.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, after `restore`. Raises ModelError, OptionError."""
        self._embedder.load(folder, self._texts)

    def _take(self, examples: Sequence[Example]) -> None:
        self._examples = tuple(examples)
        self._texts = [e.text for e in self._examples]
        self._duplicates = NearDuplicates(self._texts)
