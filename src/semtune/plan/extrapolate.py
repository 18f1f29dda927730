"""Memory of all layers from traces of two shallow runs.

Tensor bytes at one instant grow linearly with the number of layers, but different instants grow at different rates: at
the start of backward all activations are live, at its end all gradients. A peak is the maximum of these lines, so each
instant is extrapolated by itself, and the maximum is taken afterwards. That requires matching the instants of a run of
n layers (shallow) with those of a run of n + 1 (deep). `repeated` finds the layer L that the deep run has twice in
succession. Three cases cover the instants of the full run:

               1. from the start     2. in neither run     3. from the end
    shallow    before, its L                               its L, after
    deep       before, first L                             last L, after
    full       before, first L       L  L  ...  L          last L, after

Instants of cases 1 and 3 are matched by counting from the start and from the end. The layers of case 2 are equal, so
their live bytes change linearly from the first L to the last and never exceed both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semtune.plan.history import Section

SHALLOW = 3
"""Layers of the shallow run: the first, one in the middle, the last. The deep run has one more."""
SHALLOW_CHECKPOINTED = 4
"""The same with activation checkpointing: operations of a block then interleave with both neighbours' in backward."""


def shallow_layers(layers: int, *, activation_checkpointing: bool, last_apart: int = 0) -> int:
    """Layers of the shallow run for a model of `layers`.

    last_apart: number of layers at the end that differ from all before; the usual number has room for one. Of a model
    with hardly more layers than these the deep run has all.
    """
    usual = SHALLOW_CHECKPOINTED if activation_checkpointing else SHALLOW
    needed = usual + max(0, last_apart - 1)
    return usual if needed == usual else max(1, min(needed, layers - 1))


def peak_bytes(shallow: Section, deep: Section, more: int) -> int:
    """The peak of live bytes in this section with `more` layers than the shallow run has."""
    first, last = repeated(shallow.operations, deep.operations)
    a, b = shallow.live_bytes, deep.live_bytes
    shift = len(b) - len(a)
    from_start = [extrapolated(x, y, more) for x, y in zip(a[:last], b[:last], strict=True)]
    from_end = [extrapolated(x, y, more) for x, y in zip(a[first:], b[first + shift :], strict=True)]
    return max((*from_start, *from_end), default=0)


def repeated(shallow: Sequence[str], deep: Sequence[str]) -> tuple[int, int]:
    """The half-open range of the shallow run's operations that the deep run has twice, one directly after the other.

    A section that goes through the layers several times (norms of gradients, for example) has no such range. Its
    middle is returned twice then, an empty range: the first half is matched from the start, the second from the end.

    Raises:
        ValueError: the deep run has fewer operations.
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


def extrapolated(shallow: float, deep: float, more: int) -> int:
    """A figure that grows by `deep - shallow` with each layer, for `more` layers than the shallow run has."""
    return round(shallow + (deep - shallow) * more)


def total(shallow: Section, deep: Section, more: int, of: Callable[[Section], float]) -> float:
    """A sum over the operations of a section, for `more` layers than the shallow run has."""
    a, b = of(shallow), of(deep)
    return a + (b - a) * more


def match(shallow: Sequence[Section], deep: Sequence[Section]) -> list[tuple[Section, Section]]:
    """Pairs of the same section in both runs. Raises ValueError where their sections differ in name or order."""
    if [s.name for s in shallow] != [s.name for s in deep]:
        raise ValueError("the two depths went through different sections")
    return list(zip(shallow, deep, strict=True))
