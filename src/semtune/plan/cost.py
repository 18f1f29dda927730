"""Operation counts of a run, extrapolated to all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from semtune.plan.history import Section


@dataclass(frozen=True, slots=True)
class Cost:
    """Operation counts of one or more sections: FLOPs of products, bytes moved, number of operations."""

    products: tuple[tuple[float, float], ...]
    """(FLOPs of one matrix product, number of such products), with all layers."""
    loop_flops: float
    """FLOPs of low-rank products in compiled loops."""
    moved_bytes: float
    """Bytes that other operations read and write."""
    unpacked_bytes: float
    """Bytes that compiled loops read and write to dequantise 4-bit codes."""
    operations: float
    """Number of operations, each of which has a fixed overhead."""
    cold_bytes: float = 0.0
    """Bytes read and written in main memory: the caches no longer hold what was last used one step ago."""

    @property
    def flops(self) -> float:
        """FLOPs of all matrix products."""
        return sum(flops * count for flops, count in self.products)

    def times(self, factor: float) -> Cost:
        """This cost, `factor` times."""
        return Cost(
            tuple((flops, factor * count) for flops, count in self.products),
            factor * self.loop_flops,
            factor * self.moved_bytes,
            factor * self.unpacked_bytes,
            factor * self.operations,
            factor * self.cold_bytes,
        )

    def plus(self, other: Cost) -> Cost:
        """The sum of both costs."""
        products = dict(self.products)
        for flops, count in other.products:
            products[flops] = products.get(flops, 0.0) + count
        return Cost(
            tuple(products.items()),
            self.loop_flops + other.loop_flops,
            self.moved_bytes + other.moved_bytes,
            self.unpacked_bytes + other.unpacked_bytes,
            self.operations + other.operations,
            self.cold_bytes + other.cold_bytes,
        )

    def cold(self) -> Cost:
        """This cost with every moved byte counted as cold."""
        return replace(self, moved_bytes=0.0, cold_bytes=self.moved_bytes + self.cold_bytes)


def cost_of(pairs: Sequence[tuple[Section, Section]], more: int) -> Cost:
    """The summed cost of these sections with all layers."""
    counts: dict[float, list[float]] = {}
    loop = moved = unpacked = operations = cold = 0.0
    for side, sections in enumerate(zip(*pairs, strict=True)):
        weight = more if side else 1 - more
        for section in sections:
            for flops in section.product_flops:
                if flops:
                    counts.setdefault(flops, [0.0])[0] += weight
            loop += weight * sum(section.loop_flops)
            moved += weight * sum(section.moved_bytes)
            unpacked += weight * sum(section.unpacked_bytes)
            operations += weight * len(section.live_bytes)
            cold += weight * sum(section.cold_bytes)
    return Cost(tuple((flops, count[0]) for flops, count in counts.items()), loop, moved, unpacked, operations, cold)
