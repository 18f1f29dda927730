"""The bar of a run in a log and in a notebook."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from semtune.progress import RunBar
from semtune.training.loop import EpochEvent, StepEvent

STEP = StepEvent(step=3, steps=10, epoch=1, loss=0.5, grad_norm=1.0, learning_rate=1e-3, tokens=8, seconds=0.1)
EPOCH = EpochEvent(1, 0.75, "micro_f1", 2.0, 0.5, best=True)


def watch(bar: RunBar) -> None:
    with bar:
        bar.on_phase("training", None)
        bar.on_step(STEP)
        bar.on_epoch(EPOCH)
        bar.on_phase("predicting dev", 20)
        bar.on_done(20)


def test_a_log_gets_a_line_for_each_part_and_epoch() -> None:
    text = io.StringIO()
    watch(RunBar("micro-F1", Console(file=text, force_terminal=False, force_jupyter=False, width=80)))
    lines = text.getvalue().splitlines()
    assert lines[0] == "training"
    assert lines[1].startswith("epoch 1: 2.0 s")
    assert lines[1].endswith("  dev micro-F1 0.7500  (best so far)")
    assert lines[2:] == ["predicting dev"]


def test_a_notebook_gets_a_display_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every front end of Jupyter, without ipywidgets."""
    shown: list[str] = []

    def text_of(thing: Any) -> str:
        return str(thing._repr_mimebundle_([], [])["text/plain"])

    class Handle:
        def update(self, thing: Any) -> None:
            shown.append(text_of(thing))

    def display(thing: Any, display_id: bool = False) -> Handle | None:
        shown.append(text_of(thing))
        return Handle() if display_id else None

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.delenv("SEMTUNE_NO_PROGRESS", raising=False)
    monkeypatch.setattr("semtune.progress.NOTEBOOK_REFRESH_SECONDS", 0.0)
    watch(RunBar(console=Console(force_jupyter=True)))
    assert any("training" in text and "loss 0.500" in text for text in shown)
    assert any(text.startswith("epoch 1: 2.0 s") for text in shown)
    assert shown[-1].strip() == "", "the bar is gone at the end"


def test_progress_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_NO_PROGRESS", "1")
    bar = RunBar(console=Console(file=io.StringIO(), force_jupyter=True))
    assert not bar._notebook
    assert bar._bar.disable


def test_what_a_user_named_is_never_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, above a bar, and in the bar itself."""
    monkeypatch.delenv("SEMTUNE_NO_PROGRESS", raising=False)
    hostile = "loading [/bold] [red]a[/red] :smile: {task.id}"
    for terminal in (False, True):
        text = io.StringIO()
        console = Console(file=text, force_terminal=terminal, force_jupyter=False, width=120, color_system=None)
        with RunBar("[/metric] F1", console) as bar:
            bar.on_phase(hostile, 3)
            bar.say("[/bold] :smile: \x1b[2J")
            bar.on_epoch(EPOCH)
            bar._bar.refresh()
        shown = text.getvalue()
        assert hostile in shown
        assert "[/bold] :smile: \\x1b[2J" in shown
        assert "dev [/metric] F1 0.7500" in shown


def test_a_bar_that_cannot_be_drawn_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    watch(RunBar("micro-F1"))
