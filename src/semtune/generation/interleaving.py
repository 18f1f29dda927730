"""Functions that are written for one text each, run together: each pauses at its calls, which are run for all at once.

Every function runs in a thread of its own, but never two at a time: the main thread hands over to one of them, and goes
on when that one makes a call or returns. So functions need no locks, the order is always the same, models run in the
main thread, and Ctrl-C reaches it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, Protocol, TypeVar

import torch

R = TypeVar("R")


class Waitable(Protocol):
    """A call whose result others compute."""

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        ...


Wait = Callable[[Waitable], None]
"""Pauses the function until the call is done."""


class Stopped(BaseException):
    """Raised in a paused function when the others are given up; nobody sees it."""


def interleave(
    functions: Iterable[Callable[[Wait], R]], step: Callable[[], None], limit: int
) -> Generator[tuple[int, R], None, None]:
    """Run functions, at most `limit` of them at a time.

    Args:
        functions: each receives `wait`.
        step: does some work on the calls that functions wait for.

    Yields:
        (index of a function, what it returned), in the order in which they finish.

    Raises:
        What a function or `step` raises; the other functions are given up then, as when the iterator is closed.
    """
    running: list[_Paused[R]] = []
    waiting = enumerate(functions)
    try:
        while True:
            for worker in [worker for worker in running if worker.call is not None and worker.call.done]:
                worker.resume()
            while sum(worker.call is not None for worker in running) < limit:
                index, function = next(waiting, (-1, None))
                if function is None:
                    break
                running.append(_Paused(index, function))
                running[-1].resume()
            finished = [worker for worker in running if worker.call is None]
            running = [worker for worker in running if worker.call is not None]
            for worker in finished:
                yield worker.index, worker.result()
            if not running:
                return
            if not any(worker.call is not None and worker.call.done for worker in running):
                step()
    finally:
        for worker in running:
            worker.stop()


class _Paused(Generic[R]):
    """A function in a thread that runs only within `resume`."""

    def __init__(self, index: int, function: Callable[[Wait], R]) -> None:
        self.index, self._function = index, function
        self.call: Waitable | None = None
        """What the function waits for; None: it has not begun, or is finished."""
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._stopped = False
        self._results: list[R] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Let the function run until its next call, or its end."""
        self.call = None
        self._go.release()
        self._paused.acquire()

    def result(self) -> R:
        """What the finished function returned; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def stop(self) -> None:
        """End the function at its present or next call."""
        self._stopped = True
        self._go.release()
        self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._stopped:
                with torch.no_grad():  # the setting is one of each thread
                    self._results.append(self._function(self._wait))
        except BaseException as error:  # noqa: BLE001 -- raised again in the main thread
            self._error = error
        self._paused.release()

    def _wait(self, call: Waitable) -> None:
        self.call = call
        self._paused.release()
        self._go.acquire()
        if self._stopped:
            raise Stopped
