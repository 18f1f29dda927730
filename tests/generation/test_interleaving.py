"""Functions that pause at calls and go on when these are done, one at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass

import pytest
import torch

from semtune.generation.interleaving import interleave


@dataclass
class Call:
    done: bool = False


class Steps:
    """Finishes the open calls of every step, after `raises` steps with an error."""

    def __init__(self, raises: BaseException | None = None, after: int = 10**9) -> None:
        self.open: list[Call] = []
        self.sizes: list[int] = []
        self.raises, self.after = raises, after

    def call(self) -> Call:
        self.open.append(Call())
        return self.open[-1]

    def __call__(self) -> None:
        if len(self.sizes) == self.after and self.raises is not None:
            raise self.raises
        self.sizes.append(len(self.open))
        for call in self.open:
            call.done = True
        self.open = []


def threads() -> int:
    return threading.active_count()


def text(steps: Steps, calls: int, name: object, log: list[object] | None = None):
    def function(wait) -> object:
        assert not torch.is_grad_enabled()
        try:
            for _ in range(calls):
                wait(steps.call())
        finally:
            (log if log is not None else []).append(name)
        return name

    return function


def test_calls_of_all_functions_are_gathered_and_places_are_taken_by_the_next() -> None:
    steps, before = Steps(), threads()
    results = dict(interleave([text(steps, n, f"t{n}") for n in (3, 1, 1, 0, 2)], steps, 2))
    assert results == {0: "t3", 1: "t1", 2: "t1", 3: "t0", 4: "t2"}
    assert steps.sizes == [2, 2, 2, 1]
    assert threads() == before
    assert list(interleave([], steps, 3)) == []


def test_order_of_finishing_is_always_the_same() -> None:
    orders = set()
    for _ in range(5):
        steps = Steps()
        orders.add(tuple(index for index, _ in interleave([text(steps, n % 4, n) for n in range(12)], steps, 5)))
    assert len(orders) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x")])
def test_an_error_of_a_step_ends_all_functions(error: BaseException) -> None:
    steps, log, before = Steps(error, after=2), [], threads()
    with pytest.raises(type(error)):
        list(interleave([text(steps, 5, n, log) for n in range(4)], steps, 3))
    assert sorted(log) == [0, 1, 2] and threads() == before


def test_an_error_of_a_function_is_raised_and_ends_the_others() -> None:
    steps, log, before = Steps(), [], threads()

    def failing(wait) -> None:
        wait(steps.call())
        raise ValueError("of this text")

    with pytest.raises(ValueError, match="of this text"):
        list(interleave([text(steps, 3, "other", log), failing], steps, 3))
    assert log == ["other"] and threads() == before


def test_a_consumer_that_leaves_ends_all_functions() -> None:
    steps, log, before = Steps(), [], threads()
    with contextlib.closing(interleave([text(steps, n, n, log) for n in (1, 9, 9)], steps, 3)) as results:
        assert next(results) == (0, 1)
    assert sorted(log) == [1, 9, 9] and threads() == before


def test_ctrl_c_while_a_function_runs_ends_all_of_them() -> None:
    steps, log, before = Steps(), [], threads()

    def busy(wait) -> None:
        wait(steps.call())
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            time.sleep(0.01)
        wait(steps.call())
        log.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        list(interleave([text(steps, 9, "other", log), busy], steps, 3))
    assert log == ["other"] and threads() == before
