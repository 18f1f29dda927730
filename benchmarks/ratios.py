"""From what contestants measured to the bench's figures. Pure functions over runs; nothing is measured here.

A *run* is one contestant in one round. Ratios are formed within a round, so that what slows the machine slows both
sides, and the median over rounds is the figure. Where several peers of one class stand, the ratio over each is formed,
and the lowest median counts: ours against the fastest of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Measure = Callable[[Mapping[str, Any]], float]
"""From what a contestant printed to one number. A missing or impossible entry counts as no value of that round."""

MASTER_AND_MOMENTS_BYTES = 12
"""Of each weight: its fp32 master, of which the weight itself is all or (bf16) the upper half, and two fp32 moments."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant in one round."""

    contestant: str
    round: int
    """From 0."""
    result: Mapping[str, Any]
    """What it printed, or {"error": reason}."""
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the bench with the values behind it."""

    key: str
    values: Mapping[int, float] = field(default_factory=dict)
    """By round."""
    ours: str | None = None
    """The contestant above the line."""
    against: str | None = None
    """The contestant below the line; None for a figure that is no ratio."""
    reason: str | None = None
    """Why there is no value."""

    @property
    def value(self) -> float | None:
        """The median over rounds."""
        return statistics.median(self.values.values()) if self.values else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest round."""
        return (min(self.values.values()), max(self.values.values())) if self.values else None

    def behind(self) -> dict[str, Any]:
        """What stands behind the value, as plain values; rounds from 1."""
        return {
            "rounds": {str(r + 1): value for r, value in self.values.items()},
            "lowest": self.spread[0] if self.spread else None,
            "highest": self.spread[1] if self.spread else None,
            "of": self.ours,
            "against": self.against,
            "reason": self.reason,
        }


def tokens_per_second(result: Mapping[str, Any]) -> float:
    """Real tokens over seconds of the timed steps, as a run of some epochs would take them.

    `step_seconds` is their second pass; what the first took more counts as often as a run meets a new size. Without a
    first pass (growth) the second stands alone.
    """
    steady = result["step_seconds"]
    first = result.get("first_seconds", steady)
    more = sum(max(a - b, 0.0) for a, b in zip(first, steady, strict=True))
    return sum(result["tokens"]) / (sum(steady) + result.get("new_size_share", 0.0) * more)


def median_step_speed(result: Mapping[str, Any]) -> float:
    """Tokens a second of the median step: for screening, which one slow step of an only round must not decide."""
    return statistics.median(n / s for n, s in zip(result["tokens"], result["step_seconds"], strict=True))


def seconds_per_token(result: Mapping[str, Any]) -> float:
    return 1.0 / tokens_per_second(result)


def run_seconds(result: Mapping[str, Any]) -> float:
    """Seconds of training of a whole run: as measured, or its tokens at the speed of the steps that stand for it."""
    if "train_seconds" in result:
        return float(result["train_seconds"])
    return float(result["run_tokens"] / tokens_per_second(result))


def share_of_training_state(result: Mapping[str, Any]) -> float:
    """Peak of the reference step above the bare runtime, over weights, fp32 masters and moments of full tuning."""
    return step_peak_bytes(result) / (MASTER_AND_MOMENTS_BYTES * result["parameters"])


def step_peak_bytes(result: Mapping[str, Any]) -> float:
    """Peak of the reference step above the bare runtime."""
    return float(result["peak_bytes"] - result["runtime_bytes"])


def whole_peak_bytes(result: Mapping[str, Any]) -> float:
    """Peak above the bare runtime, loading included."""
    return float(max(result["peak_bytes"], result["load_peak_bytes"]) - result["runtime_bytes"])


def field_of(name: str) -> Measure:
    """The measure that reads one entry."""
    return lambda result: float(result[name])


def values(runs: Sequence[Run], contestant: str, measure: Measure) -> dict[int, float]:
    """A contestant's value by round; rounds that failed, and values that are not positive numbers, are absent."""
    found: dict[int, float] = {}
    for run in runs:
        if run.contestant != contestant or "error" in run.result:
            continue
        try:
            value = float(measure(run.result))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue
        if 0 < value < float("inf"):
            found[run.round] = value
    return found


def failure(runs: Sequence[Run], contestant: str) -> str:
    """Why `contestant` has no value: its last failure's reason."""
    own = [run for run in runs if run.contestant == contestant]
    errors = [str(run.result["error"]) for run in own if "error" in run.result]
    if errors:
        return f"{contestant}: {errors[-1]}"
    return f"{contestant}: no value in what it printed" if own else f"{contestant} was not run"


def single(key: str, runs: Sequence[Run], contestant: str, measure: Measure) -> Figure:
    """A figure of one contestant alone."""
    by_round = values(runs, contestant, measure)
    return Figure(key, by_round, contestant, None, None if by_round else failure(runs, contestant))


def ratio(key: str, runs: Sequence[Run], ours: str, other: str, measure: Measure) -> Figure:
    """`ours` over `other`, within each round in which both have a value."""
    above, below = values(runs, ours, measure), values(runs, other, measure)
    by_round = {r: above[r] / below[r] for r in sorted(above.keys() & below.keys())}
    reason = None
    if not by_round:
        lacking = [name for name, found in ((ours, above), (other, below)) if not found]
        reason = "; ".join(failure(runs, name) for name in lacking) or f"no round in which both {ours} and {other} ran"
    return Figure(key, by_round, ours, other, reason)


def lowest_ratio(key: str, runs: Sequence[Run], ours: str, peers: Sequence[str], measure: Measure) -> Figure:
    """`ours` over the peer against which the median is lowest; peers that failed are passed over."""
    figures = [ratio(key, runs, ours, peer, measure) for peer in peers]
    with_value = [figure for figure in figures if figure.value is not None]
    if with_value:
        return min(with_value, key=lambda figure: figure.value or 0.0)
    reasons = dict.fromkeys(figure.reason or "" for figure in figures)
    return Figure(key, {}, ours, None, "; ".join(reasons) or "no peer of this class")


def keep_fastest(runs: Sequence[Run], peers: Sequence[str], measure: Measure, *, count: int, share: float) -> list[str]:
    """Screening: of `peers`, the `count` fastest by their median so far, each at least `share` as fast as the fastest.

    A peer without a value is out; what it would have been is not guessed.
    """
    speeds = {peer: statistics.median(found.values()) for peer in peers if (found := values(runs, peer, measure))}
    ranked = sorted(speeds, key=lambda peer: -speeds[peer])
    return [peer for peer in ranked[:count] if speeds[peer] >= share * speeds[ranked[0]]]


def agreement(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many entries are equal. Raises ValueError where the lengths differ."""
    return sum(a == b for a, b in zip(first, second, strict=True))


def largest_difference(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Between two tables of the same size. Raises ValueError where the sizes differ."""
    return max(abs(a - b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))


def line(sizes: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Least squares of relative errors: seconds ≈ intercept + slope · size, each point weighted by 1 / seconds².

    Unweighted, the largest sizes alone would decide, and the intercept (what a step costs at least) would be noise.
    """
    weights = [1 / s**2 for s in seconds]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, sizes, strict=True)) / total
    mean_y = sum(w * y for w, y in zip(weights, seconds, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, sizes, strict=True))
    slope = sum(w * (x - mean_x) * y for w, x, y in zip(weights, sizes, seconds, strict=True)) / spread
    intercept = mean_y - slope * mean_x
    off = max(abs(intercept + slope * x - y) / y for x, y in zip(sizes, seconds, strict=True))
    return {"slope": slope, "intercept": intercept, "largest_relative_deviation": off}
