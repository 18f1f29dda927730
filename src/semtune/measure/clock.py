"""Clocks that synchronise with the device: kernels run asynchronously, so time is read after they have finished."""

from __future__ import annotations

import time
from types import TracebackType


def synchronised_seconds(device: str = "cpu") -> float:
    """A monotonic time in seconds, read after the device has finished all queued work."""
    kind = device.partition(":")[0]
    if kind in ("cuda", "mps"):
        import torch

        torch.cuda.synchronize() if kind == "cuda" else torch.mps.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Adds up the seconds spent inside its `with` blocks.

    >>> watch = Stopwatch()
    >>> with watch:
    ...     pass
    >>> watch.seconds >= 0.0
    True
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._started: float | None = None
        self.seconds = 0.0
        """Total seconds of all blocks that have ended."""
        self.last_seconds = 0.0
        """Seconds of the block that ended last."""

    def __enter__(self) -> Stopwatch:
        if self._started is not None:
            raise RuntimeError("this stopwatch is already running")
        self._started = synchronised_seconds(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        started, self._started = self._started, None
        if started is not None:
            # After an error the device may be unusable; the time is then read without synchronising.
            now = synchronised_seconds(self._device) if kind is None else time.perf_counter()
            self.last_seconds = now - started
            self.seconds += self.last_seconds
