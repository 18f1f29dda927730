"""The learning rates that `learning_rates.py` compares, its jobs and their order, and the rate that is chosen; pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semtune.study.sweep_order import middle_first

RATES: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(["full"], (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 4e-4)),
    **dict.fromkeys(["last-layers"], (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3)),
    **dict.fromkeys(["lora", "qlora", "qa-lora", "dora", "qdora"], (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)),
    **dict.fromkeys(["houlsby", "mam"], (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)),
    **dict.fromkeys(["pfeiffer"], (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)),
    **dict.fromkeys(["ia3", "bitfit", "ln-tuning", "linear-probe"], (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    **dict.fromkeys(["prefix"], (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
}
"""Method -> five rates in about equal steps of their logarithm, the default before this search among them; a sixth lies
beyond an edge that was the best or became the default."""
OTHERS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Of a method that is not in the table."""
CHOOSE, STUDY = "choose", "study"

Row = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Job:
    """One run. `section` "choose": one fold, scored on its dev part; "study": all of train, scored on test."""

    section: str
    method: str
    rate: float
    seed: int
    fold: str | None = None
    """As the run's option has it: "1/3"."""

    @classmethod
    def of(cls, row: Row) -> Job:
        """The job of a row of the record."""
        return cls(**{field.name: row[field.name] for field in dataclasses.fields(cls)})


def choose_jobs(rates: Mapping[str, Sequence[float]], runs: Sequence[tuple[int, str]]) -> list[Job]:
    """All jobs of the choice, in an order whose every beginning is of use.

    Pair by pair of seed and fold; within one the middle rates first; within one the methods in turn.
    """
    longest = max(map(len, rates.values()), default=0)
    order = {method: middle_first(values) for method, values in rates.items()}
    return [
        Job(CHOOSE, method, order[method][place], seed, fold)
        for seed, fold in runs
        for place in range(longest)
        for method in rates
        if place < len(order[method])
    ]


def chosen_rate(rows: Sequence[Row], method: str, rank: Callable[[float], float] = float) -> float | None:
    """The rate with the best mean score, over the pairs of seed and fold that all rates left have; None: there is none.

    A rate with a run that failed is out, as is one without any run. The smallest of equals is taken.

    Args:
        rows: of the section "choose", finished and failed.
        rank: of scores; the higher the better.
    """
    of_method = [row for row in rows if row["method"] == method and row["section"] == CHOOSE]
    failed = {row["rate"] for row in of_method if "error" in row}
    scores: dict[float, dict[tuple[int, str], float]] = {}
    for row in of_method:
        if row["rate"] not in failed:
            scores.setdefault(row["rate"], {})[row["seed"], row["fold"]] = row["score"]
    common = set.intersection(*map(set, scores.values())) if scores else set()
    if not common:
        return None
    return min(scores, key=lambda rate: (-rank(statistics.fmean(scores[rate][pair] for pair in common)), rate))


class Schedule:
    """Which job is next: those of the choice, then the study's of each method whose choice is made."""

    def __init__(
        self,
        choose: Sequence[Job],
        methods: Sequence[str],
        seeds: Sequence[int],
        done: Collection[Job],
        rate_of: Callable[[str], float | None],
    ) -> None:
        """
        Args:
            choose: the jobs of the choice; those of `done` are left out.
            methods: what the study runs, with `seeds`; () for no study.
            rate_of: a method's chosen rate, asked once its jobs of the choice have ended; None: it has none.
        """
        self._waiting = [job for job in choose if job not in done]
        self._open = {method: sum(job.method == method for job in self._waiting) for method in methods}
        self._study = [(seed, method) for seed in seeds for method in methods]
        self._done, self._rate_of = done, rate_of

    def next(self) -> Job | None:
        """The next job; None: none now, and none at all if nothing is under way."""
        if self._waiting:
            return self._waiting.pop(0)
        return next(self._ready(), None)

    def ended(self, job: Job) -> None:
        """A job of the choice has ended, well or not."""
        if job.section == CHOOSE and job.method in self._open:
            self._open[job.method] -= 1

    def _ready(self) -> Iterator[Job]:
        for seed, method in list(self._study):
            if self._open[method] > 0:
                continue
            self._study.remove((seed, method))
            rate = self._rate_of(method)
            if rate is not None and (job := Job(STUDY, method, rate, seed)) not in self._done:
                yield job
