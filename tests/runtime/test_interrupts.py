"""Ctrl-C while modules are imported: what waits is raised once, whoever raises it first."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from semtune.runtime.interrupts import _Handler, interrupt_between_imports, raise_pending


@pytest.fixture
def handler() -> Iterator[_Handler]:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt_between_imports()
    installed = signal.getsignal(signal.SIGINT)
    assert isinstance(installed, _Handler)
    yield installed


def test_outside_of_imports_it_is_raised_at_once(handler: _Handler) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_repetition_of_what_was_raised_meanwhile_is_dropped(handler: _Handler) -> None:
    handler._waiting = True
    with pytest.raises(KeyboardInterrupt):
        raise_pending()
    handler._repeated = True  # the timer had looked just before
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_waits_is_raised_by_the_repetition(handler: _Handler) -> None:
    handler._waiting = True
    with pytest.raises(KeyboardInterrupt):
        handler._repeat()
    handler._repeat()
