"""What can be fitted on a task and then predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from semtune.records import Example, Prediction


class Approach(Protocol):
    """Whatever can be fitted on a task and then predict: the study's axis."""

    name: str

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None: ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]: ...
