"""Splitting work into groups that a memory bound allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def consecutive_groups(counts: Sequence[int], max_total: int) -> Iterator[list[int]]:
    """Consecutive indices whose counts sum to at most `max_total`; an index with a larger count is a group alone."""
    group: list[int] = []
    total = 0
    for i, n in enumerate(counts):
        if group and total + n > max_total:
            yield group
            group, total = [], 0
        group.append(i)
        total += n
    if group:
        yield group
