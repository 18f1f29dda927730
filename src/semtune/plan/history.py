"""Sections of a trace: live bytes and cost of every operation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semtune.nn.operator_registry import OperatorCost


@dataclass
class Section:
    """Consecutive operations of one part of a run, such as a forward pass.

    All lists have one element per instant: the end of an operation, or one of its allocations.
    """

    name: str
    operations: list[str] = field(default_factory=list)
    """Names of the operations, in order."""
    live_bytes: list[int] = field(default_factory=list)
    """Bytes of all live storages; during the call of a compiled operator its workspace counts too."""
    product_flops: list[float] = field(default_factory=list)
    """FLOPs of a matrix product; 0 for other operations."""
    loop_flops: list[float] = field(default_factory=list)
    """FLOPs of low-rank products in compiled loops."""
    moved_bytes: list[int] = field(default_factory=list)
    """Bytes that an operation reads and writes; 0 for matrix products."""
    unpacked_bytes: list[int] = field(default_factory=list)
    """Bytes that a compiled loop reads and writes to dequantise codes."""
    cold_bytes: list[int] = field(default_factory=list)
    """As `moved_bytes`, in main memory: an optimizer's state, last used one step ago."""

    def append(
        self, operation: str, live_bytes: int, cost: OperatorCost, product_flops: float = 0.0, *, cold: bool = False
    ) -> None:
        """Append one operation, at whose end `live_bytes` are live in addition to its workspace.

        `cold`: whether what it moves is cold.
        """
        self.operations.append(operation)
        self.live_bytes.append(live_bytes + cost.workspace_bytes)
        self.product_flops.append(product_flops)
        self.loop_flops.append(cost.loop_flops)
        self.moved_bytes.append(0 if cold else cost.moved_bytes)
        self.unpacked_bytes.append(cost.unpacked_bytes)
        self.cold_bytes.append(cost.moved_bytes if cold else 0)

    def since(self, start: int, live_bytes: int) -> Section:
        """A copy of the instants from `start` on, with `live_bytes` subtracted from their live bytes."""
        return Section(
            self.name,
            self.operations[start:],
            [live - live_bytes for live in self.live_bytes[start:]],
            self.product_flops[start:],
            self.loop_flops[start:],
            self.moved_bytes[start:],
            self.unpacked_bytes[start:],
            self.cold_bytes[start:],
        )

    def extend(self, more: Section, live_bytes: int, *, cold: bool = False) -> None:
        """Append `more`, a result of `since`, with `live_bytes` added to its live bytes; `cold` as in `append`."""
        zeros = [0] * len(more.operations)
        self.operations += more.operations
        self.live_bytes += [live_bytes + live for live in more.live_bytes]
        self.product_flops += more.product_flops
        self.loop_flops += more.loop_flops
        self.moved_bytes += zeros if cold else more.moved_bytes
        self.unpacked_bytes += more.unpacked_bytes
        self.cold_bytes += more.moved_bytes if cold else zeros

    def cut(self, start: int) -> None:
        """Remove the instants from `start` on."""
        for column in self._columns():
            del column[start:]

    def fold(self, start: int, stop: int, period: int) -> None:
        """Remove instants `start` to `stop` (exclusive), adding the cost of each to the instant `period` before it."""
        costs: tuple[list[Any], ...] = (
            self.product_flops, self.loop_flops, self.moved_bytes, self.unpacked_bytes, self.cold_bytes,
        )  # fmt: skip
        for column in costs:
            for at in range(stop - 1, start - 1, -1):
                column[at - period] += column[at]
        for column in self._columns():
            del column[start:stop]

    def _columns(self) -> tuple[list[Any], ...]:
        return (
            self.operations,
            self.live_bytes,
            self.product_flops,
            self.loop_flops,
            self.moved_bytes,
            self.unpacked_bytes,
            self.cold_bytes,
        )


def without_repeated_chunks(section: Section) -> Section:
    """Fold the third and all further iterations of a chunked loop into the second, in place.

    A chunk reuses the memory of the chunk before it. Kept apart, all chunks would count as allocated bytes, of which
    `overhead` takes a share as fragmentation. An iteration repeats the one before it where its operations are the same
    and none of them has more live bytes.
    """
    start, period = _longest_repetition(section)
    if period:
        stop = start + period
        while stop < len(section.operations) and _repeats(section, stop, period):
            stop += 1
        stop -= (stop - start) % period
        section.fold(start + period, stop, period)
    return section


_MAX_ITERATION = 96
"""Operations that an iteration may have at most."""


def _longest_repetition(section: Section) -> tuple[int, int]:
    """First instant and length of the iteration whose repetitions cover the most instants; (0, 0): none repeats."""
    best = (0, 0, 0)  # instants repeated, first instant, period
    for period in range(2, min(_MAX_ITERATION, len(section.operations) // 2) + 1):
        run = 0
        for at in range(period, len(section.operations)):
            run = run + 1 if _repeats(section, at, period) else 0
            if run >= period and run > best[0]:
                best = (run, at - run + 1 - period, period)
    return best[1:]


def _repeats(section: Section, at: int, period: int) -> bool:
    """Whether instant `at` has the operation of the one `period` before it, and no more live bytes."""
    earlier = at - period
    return (
        section.operations[at] == section.operations[earlier] and section.live_bytes[at] <= section.live_bytes[earlier]
    )
