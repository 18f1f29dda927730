"""The organisers' random baseline. A score below it has learnt nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

from semtune.baselines.base import BaseBaseline
from semtune.records import Example, LabelSet, Prediction, SingleLabel

RANDOM_SEED = 42


class Random(BaseBaseline):
    """Keep drawing labels without replacement while a fair coin shows heads.

    Source: baselines/baseline_task1_random.py of the organisers' corpus (see `tasks.semeval2021_task6`). Seeded with 42
    anew for each call, over the texts in the order given. For a single-label task it draws one label uniformly.
    """

    name = "random"

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`; the draw depends on that order."""
        draw = random.Random(RANDOM_SEED)
        if self.space.kind == "single_label":
            return [Prediction(e.id, SingleLabel(draw.choice(self.space.labels))) for e in examples]
        return [Prediction(e.id, self._draw_set(draw)) for e in examples]

    def _draw_set(self, draw: random.Random) -> LabelSet:
        remaining = list(self.space.labels)
        chosen: set[str] = set()
        while remaining and draw.random() < 0.5:
            chosen.add(remaining.pop(draw.randint(0, len(remaining) - 1)))
        return LabelSet(tuple(label for label in self.space.labels if label in chosen))
