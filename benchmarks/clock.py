"""The limit of a bench's seconds: whether one more run is expected to be done in time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Clock:
    """Counts from its construction.

    Args:
        limit_seconds: None: no limit.
    """

    def __init__(self, limit_seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._limit = now, limit_seconds
        self._started = now()
        self._took: dict[str, float] = {}

    def left(self) -> float:
        """Seconds; infinite without a limit."""
        return float("inf") if self._limit is None else self._limit - (self._now() - self._started)

    @contextlib.contextmanager
    def running(self, key: str) -> Iterator[None]:
        """The block is the run `key`."""
        begun = self._now()
        yield
        self._took[key] = self._now() - begun

    def allows(self, key: str) -> bool:
        """Whether the run `key` fits: it is expected to take as long as last time, or as the longest run so far."""
        return self.left() > self._took.get(key, max(self._took.values(), default=0.0))
