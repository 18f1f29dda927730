"""Few-shot prompting (Brown et al. 2020, arXiv:2005.14165): the same labelled training texts before every text.

Which texts and in which order is drawn once with the run's seed, so that all prompts begin alike and their common
beginning can be computed once. A text that is itself a demonstration, or nearly the same as one, is asked without it.

Label-balanced choice: the label that the chosen texts show least often comes next (of a tie, the rarest in the training
texts), and of the texts with that label the one whose other labels are shown least; "no label" counts as a label.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from semtune.contracts import Prompt, StrategyGenerator, TaskContext
from semtune.errors import DataError
from semtune.records import Example, option
from semtune.strategies._direct import Demonstrations, DemonstrationSettings, DirectStrategy
from semtune.strategies._files import example_from, plain_example
from semtune.tasks.overlap import NearDuplicates

_NO_LABEL = (None,)
"""What a text without labels is counted under."""


@dataclass(frozen=True, slots=True)
class FewShotSettings(DemonstrationSettings):
    """Options of few-shot prompting."""

    demonstrations: int = option(
        8, unit="texts", at_least=1, at_most=200, help="Training texts that stand before each text with their labels."
    )
    choice: Literal["balanced", "random", "first"] = option(
        "balanced",
        help="Which texts: balanced (every label as often as can be), random, or first (the first ones of the data).",
    )
    order: Literal["random", "labels", "shortest-first"] = option(
        "random",
        help="Their order in the prompt: random, labels (grouped in the order of the labels), or shortest-first.",
    )


class FewShot(DirectStrategy):
    """Registered as "few-shot"; `contracts.Strategy`."""

    name: ClassVar[str] = "few-shot"
    demonstrates: ClassVar[bool] = True
    Settings: ClassVar[type[Any]] = FewShotSettings
    settings: FewShotSettings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: FewShotSettings) -> None:
        """See `BaseStrategy`."""
        super().__init__(context, prompt, settings)
        self._labels: tuple[str, ...] = context.labels
        self._take(())

    def fit(self, train: Sequence[Example]) -> None:
        """Choose the demonstrations. Raises DataError where no training text has a target."""
        super().fit(train)
        labelled = [e for e in train if e.labels is not None]
        if not labelled:
            raise DataError("There are no labelled training texts to demonstrate; use zero-shot, or label some.")
        draw = random.Random(self.settings.seed)
        chosen = CHOICES[self.settings.choice](labelled, self.settings.demonstrations, draw)
        self._take(_ordered(chosen, self.settings.order, self._labels, draw))

    def demonstrations(self, example: Example, generator: StrategyGenerator) -> Demonstrations:
        """The fixed ones but near-duplicates of the text; the last one is the nearest, the first is dropped first."""
        duplicate = self._duplicates.of(example.text)
        kept = [d for i, d in enumerate(self._chosen) if not duplicate(i)]
        return Demonstrations(kept[::-1], in_order=lambda nearest: nearest[::-1])

    def state(self) -> dict[str, Any]:
        """The demonstrations too."""
        return {**super().state(), "demonstrations": [plain_example(e) for e in self._chosen]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the demonstrations back."""
        super().restore(state)
        self._take(tuple(example_from(row) for row in state["demonstrations"]))

    def _take(self, chosen: Sequence[Example]) -> None:
        self._chosen = tuple(chosen)
        self._duplicates = NearDuplicates([e.text for e in self._chosen])


def balanced(examples: Sequence[Example], count: int, draw: random.Random) -> list[Example]:
    """`count` examples that show every label as evenly as a greedy choice can; all of them where there are no more."""
    left = draw.sample(list(examples), len(examples))
    frequency = Counter(label for e in left for label in _shown_labels(e))
    shown: Counter[Any] = Counter()
    chosen: list[Example] = []
    while left and len(chosen) < count:
        open_labels = {label for e in left for label in _shown_labels(e)}
        wanted = min(open_labels, key=lambda label: (shown[label], frequency[label], str(label)))
        having = (e for e in left if wanted in _shown_labels(e))
        best = min(having, key=lambda e: sum(shown[label] + 1 for label in _shown_labels(e)))
        left.remove(best)
        shown.update(_shown_labels(best))
        chosen.append(best)
    return chosen


def at_random(examples: Sequence[Example], count: int, draw: random.Random) -> list[Example]:
    """`count` examples, drawn without replacement."""
    return draw.sample(list(examples), min(count, len(examples)))


def first(examples: Sequence[Example], count: int, draw: random.Random) -> list[Example]:
    """The first `count` examples."""
    return list(examples[:count])


CHOICES: Mapping[str, Callable[[Sequence[Example], int, random.Random], list[Example]]] = {
    "balanced": balanced,
    "random": at_random,
    "first": first,
}


def _shown_labels(example: Example) -> tuple[str, ...] | tuple[None]:
    return example.labels or _NO_LABEL


def _ordered(chosen: list[Example], order: str, labels: Sequence[str], draw: random.Random) -> list[Example]:
    """`chosen` as they stand in the prompt."""
    if order == "labels":
        return sorted(chosen, key=lambda e: [labels.index(label) for label in e.labels or ()])
    if order == "shortest-first":
        return sorted(chosen, key=lambda e: len(e.text))
    return draw.sample(chosen, len(chosen))
