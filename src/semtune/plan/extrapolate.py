"""From a few layers to all of them.

With one layer more, every instant of a run holds a fixed number of bytes more, but instants differ in how many: at the
start of backward all activations stand, at its end all gradients do. A peak is therefore a maximum of linear functions,
and only each instant by itself can be extrapolated. Instants before the middle of a section are matched between the two
depths by counting from its start, those after it by counting from its end; layers that both depths lack lie between the
two and, being equal, hold what lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semtune.plan.recorder import Section

SHALLOW, DEEP = 3, 4
"""Layers that are run: a first one, a last one, and one or two of those between."""


def peak_bytes(shallow: Section, deep: Section, layers: int) -> int:
    """The most bytes that are live in this section with `layers` layers."""
    return max(instants(shallow.live_bytes, deep.live_bytes, layers), default=0)


def instants(shallow: Sequence[int], deep: Sequence[int], layers: int) -> list[int]:
    """Each instant's value at `layers` layers; (len(shallow),). Raises ValueError when fewer were run than matched."""
    if len(deep) < len(shallow):
        raise ValueError("a deeper model did less than a shallow one")
    more = (layers - SHALLOW) / (DEEP - SHALLOW)
    half = (len(shallow) + 1) // 2
    shift = len(deep) - len(shallow)
    pairs = [(a, deep[i] if i < half else deep[i + shift]) for i, a in enumerate(shallow)]
    return [round(a + (b - a) * more) for a, b in pairs]


def total(shallow: Section, deep: Section, layers: int, of: Callable[[Section], float]) -> float:
    """A sum over a section's operations, at `layers` layers."""
    a, b = of(shallow), of(deep)
    return a + (b - a) * (layers - SHALLOW) / (DEEP - SHALLOW)


def match(shallow: Sequence[Section], deep: Sequence[Section]) -> list[tuple[Section, Section]]:
    """The sections of both depths side by side. Raises ValueError when they are not the same ones."""
    if [s.name for s in shallow] != [s.name for s in deep]:
        raise ValueError("the two depths went through different sections")
    return list(zip(shallow, deep, strict=True))
