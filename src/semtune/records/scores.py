"""Scores of a split, and published results to compare them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit: its key in records, and its title in tables."""

    name: str
    title: str
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label; `support` counts its gold examples."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """A split's scores. `parse_failures` is the share (0 to 1) of completions that did not parse."""

    micro_f1: float
    macro_f1: float
    parse_failures: float
    per_label: Mapping[str, LabelScore]
    examples: int

    @property
    def value(self) -> float:
        """The task's primary metric."""
        return self.micro_f1


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One published result of a shared task, on its test split."""

    team: str
    micro_f1: float
    macro_f1: float
