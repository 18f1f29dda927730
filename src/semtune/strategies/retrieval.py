"""Retrieval: the training texts nearest to a text, with their labels, are its demonstrations (Liu et al. 2022).

"What Makes Good In-Context Examples for GPT-3?", arXiv:2101.06804. The nearest stands last, next to the text, unless
`order` says otherwise. What counts as near is an embedder's business (`neighbours`); near-duplicates of the text are
passed over (see `_neighbours`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from semtune.contracts import Prompt, StrategyGenerator, TaskContext
from semtune.records import Example, option
from semtune.registry import EMBEDDERS
from semtune.strategies._direct import Demonstrations, DemonstrationSettings, DirectStrategy
from semtune.strategies._neighbours import Neighbours


@dataclass(frozen=True, slots=True)
class RetrievalSettings(DemonstrationSettings):
    """Options of retrieval."""

    neighbours: str = option(
        "bm25", choices=tuple(EMBEDDERS), help="What makes texts near: see `semtune list embedders`."
    )
    demonstrations: int = option(
        8,
        unit="texts",
        at_least=1,
        at_most=200,
        help="Nearest training texts that stand before a text with their labels.",
    )
    order: Literal["nearest-last", "nearest-first"] = option(
        "nearest-last", help="Their order in the prompt: nearest-last (next to the text) or nearest-first."
    )


class Retrieval(DirectStrategy):
    """Registered as "retrieval"; `contracts.Strategy` and `contracts.IndexingStrategy`."""

    name: ClassVar[str] = "retrieval"
    demonstrates: ClassVar[bool] = True
    Settings: ClassVar[type[Any]] = RetrievalSettings
    settings: RetrievalSettings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: RetrievalSettings) -> None:
        """See `BaseStrategy`. Raises UnknownNameError for an unknown embedder."""
        super().__init__(context, prompt, settings)
        self._neighbours = Neighbours(settings.neighbours)

    def fit(self, train: Sequence[Example]) -> None:
        """Store the training texts. Raises DataError where none has a target."""
        super().fit(train)
        self._neighbours.fit(train)

    def index(self, generator: StrategyGenerator) -> None:
        """Index the training texts. Raises OptionError where a package is missing."""
        self._neighbours.index(generator)

    def demonstrations(self, example: Example, generator: StrategyGenerator) -> Demonstrations:
        """The nearest training texts."""
        found = self._neighbours.nearest(example.text, self.settings.demonstrations, generator)
        last = self.settings.order == "nearest-last"
        return Demonstrations(
            [neighbour for neighbour, _ in found],
            in_order=lambda nearest: nearest[::-1] if last else nearest,
            similarities=[similarity for _, similarity in found],
        )

    def save(self, folder: Path) -> None:
        """Write the training texts and the embedder's files too."""
        super().save(folder)
        self._neighbours.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError, OptionError."""
        super().load(folder)
        self._neighbours.load(folder)

    def state(self) -> dict[str, Any]:
        """The training texts with their labels too."""
        return {**super().state(), "examples": self._neighbours.plain()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the training texts back."""
        super().restore(state)
        self._neighbours.restore(state["examples"])
