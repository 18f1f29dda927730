"""Ctrl-C while modules are imported: what waits is raised once, whoever raises it first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from semtune.runtime.interrupts import _Handler, interrupt_between_imports, is_interruption, raise_pending


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


def test_no_repetition_is_under_way_once_it_is_raised(handler: _Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer has looked, and is slow to send its signal: by then Python may be shutting down."""
    began, sent = threading.Event(), threading.Event()

    def slow(number: int) -> None:
        began.set()
        time.sleep(0.3)
        sent.set()

    monkeypatch.setattr("semtune.runtime.interrupts.signal.raise_signal", slow)
    handler._waiting = True
    handler._timer = threading.Timer(0.0, handler._repeat)
    handler._timer.start()
    assert began.wait(10)
    with pytest.raises(KeyboardInterrupt):
        raise_pending()
    assert sent.is_set()


def test_what_waits_is_raised_by_the_repetition(handler: _Handler) -> None:
    handler._waiting = True
    with pytest.raises(KeyboardInterrupt):
        handler._repeat()
    handler._repeat()


def test_what_a_library_makes_of_one_is_known_by_its_name(handler: _Handler) -> None:
    """So pydantic_core.SchemaError says it."""
    error = ValueError('Error building "model" validator:\n  KeyboardInterrupt: ')
    assert not is_interruption(error), "nobody has interrupted"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert is_interruption(error)
    assert not is_interruption(ValueError("another"))


def test_pydantic_makes_an_error_of_its_own_of_one(handler: _Handler) -> None:
    pydantic_core = pytest.importorskip("pydantic_core")

    class Interrupting:
        """What a schema holds, and during whose repr the user presses Ctrl-C."""

        def __repr__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return ""

    with pytest.raises(pydantic_core.SchemaError) as raised:
        pydantic_core.SchemaValidator(pydantic_core.core_schema.literal_schema([Interrupting()]))
    assert is_interruption(raised.value)
