"""k nearest neighbours vote (Cover & Hart 1967): the control that says what the retrieved labels alone are worth.

The neighbours are those of `retrieval` with the same `neighbours`, and no model is asked. A label's probability is the
share of the neighbours' weights that belongs to neighbours with this label. Of a label set those with at least
`threshold` are predicted; of single labels the most probable one (the first of equals in the order of the labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from semtune.contracts import Prompt, StrategyGenerator, TaskContext
from semtune.records import Example, Prediction, TargetKind, option
from semtune.records.targets import LABEL_KINDS, predictions_from
from semtune.registry import EMBEDDERS
from semtune.strategies._files import cited_example, read_json, write_json
from semtune.strategies._neighbours import Neighbours

FILE = "knn_vote.json"


@dataclass(frozen=True, slots=True)
class KnnVoteSettings:
    """Options of the vote."""

    neighbours: str = option(
        "bm25", choices=tuple(EMBEDDERS), help="What makes texts near: see `semtune list embedders`."
    )
    voters: int = option(8, unit="texts", at_least=1, at_most=10_000, help="Nearest training texts that vote.")
    weights: Literal["uniform", "similarity"] = option(
        "similarity", help="A neighbour's weight: uniform, or its similarity (one below 0 counts as 0)."
    )
    threshold: float = option(
        0.5, above=0, at_most=1, help="Share of the weights from which on a label of a label set is predicted."
    )


class KnnVote:
    """Registered as "knn-vote"; `contracts.Strategy` and `contracts.IndexingStrategy`."""

    name: ClassVar[str] = "knn-vote"
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS
    Settings: ClassVar[type[Any]] = KnnVoteSettings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: KnnVoteSettings) -> None:
        """Raises UnknownNameError for an unknown embedder."""
        self._space, self._settings = context.space, settings
        self._neighbours = Neighbours(settings.neighbours)

    @property
    def uses_model(self) -> bool:
        """Whether the neighbours are found by the model's own hidden states."""
        return self._neighbours.uses_model

    def fit(self, train: Sequence[Example]) -> None:
        """Store the training texts. Raises DataError where none has a target."""
        self._neighbours.fit(train)

    def index(self, generator: StrategyGenerator) -> None:
        """Index the training texts. Raises OptionError where a package is missing."""
        self._neighbours.index(generator)

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The vote, with the probability of each label."""
        found = self._neighbours.nearest(example.text, self._settings.voters, generator)
        rows = [{**cited_example(e, s), "labels": list(e.labels or ()), "text": e.text} for e, s in found]
        generator.note({"neighbours": rows})
        shares = self._shares(found)
        (prediction,) = predictions_from([example], [shares], self._space, self._settings.threshold)
        return prediction

    def save(self, folder: Path) -> None:
        """Write the training texts and the embedder's files."""
        write_json(folder / FILE, {"examples": self._neighbours.plain()})
        self._neighbours.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError, OptionError."""
        read_json(folder / FILE, "the voting texts", lambda value: self._neighbours.restore(value["examples"]))
        self._neighbours.load(folder)

    def _shares(self, found: Sequence[tuple[Example, float]]) -> list[float]:
        """The share of the weights for each label of the space; all 0 where there is no neighbour."""
        weights = [1.0 if self._settings.weights == "uniform" else max(similarity, 0.0) for _, similarity in found]
        if not any(weights):  # nothing in common with any text: each counts the same
            weights = [1.0] * len(found)
        total = sum(weights) or 1.0
        votes = dict.fromkeys(self._space.labels, 0.0)
        for (neighbour, _), weight in zip(found, weights, strict=True):
            for label in neighbour.labels or ():
                if label in votes:
                    votes[label] += weight
        return [vote / total for vote in votes.values()]
