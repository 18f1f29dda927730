"""Places the labels of points so that none hides another: geometry, in pixels.

Greedy: labels are placed one after the other, each at the candidate position around its point that hides least. Good
enough for the dozen points of a study; not an optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, bottom, width, height."""

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        up = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return across * up if across > 0 and up > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """A disc at (x, y) with a label of a given size."""

    x: float
    y: float
    radius: float
    label_width: float
    label_height: float

    def box(self) -> Box:
        """The square around the disc."""
        return Box(self.x - self.radius, self.y - self.radius, 2 * self.radius, 2 * self.radius)


def place(points: Sequence[Point], bounds: Box, obstacles: Sequence[Box] = (), gap: float = 4.0) -> list[Box]:
    """A box for the label of each point, in their order.

    Args:
        bounds: labels should stay within.
        obstacles: what labels should not hide, beside the points themselves.
        gap: pixels between a disc and its label.
    """
    taken = [*obstacles, *(point.box() for point in points)]
    placed: list[Box] = []
    for point in points:
        best = min(_candidates(point, gap), key=lambda box: _cost(box, point, bounds, taken))
        placed.append(best)
        taken.append(Box(best.x - 1, best.y - 1, best.width + 2, best.height + 2))
    return placed


def _candidates(point: Point, gap: float) -> list[Box]:
    """Positions around the point, near ones first: right, left, above, below, then the diagonals, then further out."""
    found = []
    directions = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
    for ring in range(6):
        away = point.radius + gap + ring * point.label_height * 0.7
        for dx, dy in directions:
            step = away * (0.75 if dx and dy else 1.0)
            x = point.x + dx * step + (dx - 1) / 2 * point.label_width
            y = point.y + dy * step + (dy - 1) / 2 * point.label_height
            found.append(Box(x, y, point.label_width, point.label_height))
    return found


def _cost(box: Box, point: Point, bounds: Box, taken: Sequence[Box]) -> float:
    """Area hidden and area out of bounds weigh most, then the distance from the point."""
    area = box.width * box.height
    hidden = sum(box.overlap(other) for other in taken)
    outside = area - box.overlap(bounds)
    distance = math.hypot(box.x + box.width / 2 - point.x, box.y + box.height / 2 - point.y)
    return 10 * hidden + 20 * outside + distance
