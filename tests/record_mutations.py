"""A record with one value of another kind, for each place in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

WRONG: tuple[Any, ...] = ("0,93", ["x"], {"x": "y"}, [], {}, 5, True, None)
"""Values of every kind; those of a place's own kind are left out there."""
IMPOSSIBLE: tuple[Any, ...] = ("a\0b", "\ud800", -5, 1e300, 10**400, float("nan"))
"""Values that are impossible in many places of their own kind."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a record; of a list the first item alone."""
    inner = value if isinstance(value, dict) else dict(enumerate(value[:1])) if isinstance(value, list) else {}
    for key, item in inner.items():
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(record: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    """Copies of a record with each wrong value at `path`, and one without it."""
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    before = holder[path[-1]]
    alike = (int, float) if isinstance(before, (int, float)) else type(before)
    for wrong in (*(value for value in WRONG if not isinstance(value, alike)), *IMPOSSIBLE):
        holder[path[-1]] = wrong
        yield copy.deepcopy(record)
    del holder[path[-1]]
    yield copy.deepcopy(record)
    if isinstance(holder, list):
        holder.insert(path[-1], before)
    else:
        holder[path[-1]] = before
