"""In which order a comparison of values makes its runs, so that every beginning of it is of use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def pairs(seeds: Sequence[int], folds: int, *, crossed: bool = True) -> list[tuple[int, str]]:
    """The (seed, fold) of a value's runs: every combination, or a fold for each seed in turn.

    Either way both change from one pair to the next, so that the first few are of different folds.
    """
    rounds = folds if crossed else 1
    return [(seed, f"{(i + turn) % folds + 1}/{folds}") for turn in range(rounds) for i, seed in enumerate(seeds)]


def middle_first(values: Sequence[T]) -> list[T]:
    """The middle value, then its neighbours, the earlier first, then theirs: the best value is mostly there."""
    middle = (len(values) - 1) // 2
    return [values[i] for i in sorted(range(len(values)), key=lambda i: (abs(i - middle), i))]
