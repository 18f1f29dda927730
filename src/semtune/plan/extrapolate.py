"""From a few layers to all of them.

With one layer more, every instant of a run holds a fixed number of bytes more, but instants differ in how many: at the
start of backward all activations stand, at its end all gradients do. A peak is therefore a maximum of linear functions,
and only each instant by itself can be extrapolated. The layer that the deeper run has more is found as two stretches of
the same operations, one after the other, where the shallower run has one. Instants before it are matched by counting
from the start, those after it from the end, its own both ways: as its first and as its last such layer. Layers that
both runs lack lie between these two and, being equal, hold what lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semtune.plan.history import Section

SHALLOW = 3
"""Layers that are run: a first one, a last one, and one of those between; then another run has one more."""
SHALLOW_CHECKPOINTED = 4
"""Where blocks are computed again in backward, a block's operations mix with its neighbours' at both ends."""


def peak_bytes(shallow: Section, deep: Section, more: int) -> int:
    """The most bytes that are live in this section with `more` layers than the shallow run had."""
    first, last = repeated(shallow.operations, deep.operations)
    a, b = shallow.live_bytes, deep.live_bytes
    shift = len(b) - len(a)
    from_start = [with_more(x, y, more) for x, y in zip(a[:last], b[:last], strict=True)]
    from_end = [with_more(x, y, more) for x, y in zip(a[first:], b[first + shift :], strict=True)]
    return max((*from_start, *from_end), default=0)


def repeated(shallow: Sequence[str], deep: Sequence[str]) -> tuple[int, int]:
    """Where the shallow run has the layer that the deep one has twice: its first operation, and the one behind it.

    The middle, twice, where several passes over the layers follow one another: small ones (norms of gradients) do.
    Raises ValueError where the deep run did less.
    """
    period = len(deep) - len(shallow)
    if period < 0:
        raise ValueError("a deeper model did less than a shallow one")
    shallow, deep = list(shallow), list(deep)
    common = next((i for i, (a, b) in enumerate(zip(shallow, deep, strict=False)) if a != b), len(shallow))
    for first in range(max(0, common - period), -1, -1):
        last = first + period
        if shallow[first:last] == deep[last : last + period] and shallow[last:] == deep[last + period :]:
            return first, last
    half = (len(shallow) + 1) // 2
    return half, half


def with_more(shallow: float, deep: float, more: int) -> int:
    """What grows by the same amount with each layer, with `more` layers than the shallow run had."""
    return round(shallow + (deep - shallow) * more)


def total(shallow: Section, deep: Section, more: int, of: Callable[[Section], float]) -> float:
    """A sum over a section's operations, with `more` layers than the shallow run had."""
    a, b = of(shallow), of(deep)
    return a + (b - a) * more


def match(shallow: Sequence[Section], deep: Sequence[Section]) -> list[tuple[Section, Section]]:
    """The sections of both depths side by side. Raises ValueError when they are not the same ones."""
    if [s.name for s in shallow] != [s.name for s in deep]:
        raise ValueError("the two depths went through different sections")
    return list(zip(shallow, deep, strict=True))
