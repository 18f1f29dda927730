"""What a run shows while it works: a bar with time left on a terminal and in a notebook, lines in a log."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from semtune.runtime.streams import forgiving, printable

if TYPE_CHECKING:
    from semtune.training.loop import EpochEvent, StepEvent

NOTEBOOK_REFRESH_SECONDS = 0.25
"""A notebook's display is updated no more often than this."""


class RunBar:
    """An observer of a run that draws on standard error, or in a notebook's cell. Use it as a context manager.

    rich draws its own live bar in a notebook only where ipywidgets is installed. This class updates a plain IPython
    display instead, which every notebook front end has.
    """

    def __init__(self, metric: str = "", console: Console | None = None, wording: Callable[[str], str] = str) -> None:
        """
        Args:
            metric: the title of the task's primary metric, for the line of an epoch; "": its name.
            console: where to draw; None: standard error.
            wording: says a line in the words of the caller's interface.
        """
        self._metric, self._wording = metric, wording
        self._console = console or Console(file=forgiving(sys.stderr))
        self._notebook = self._console.is_jupyter and "SEMTUNE_NO_PROGRESS" not in os.environ
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),  # it may hold a path or a label of the user's
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._notebook and (not self._console.is_terminal or "SEMTUNE_NO_PROGRESS" in os.environ),
        )
        self._task: TaskID | None = None
        self._display: Any = None
        self._drawn_at = 0.0

    def __enter__(self) -> RunBar:
        if self._notebook:
            self._display = importlib.import_module("IPython.display").display(self._bar, display_id=True)
        else:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._remove_task()
            self._draw(now=True)
        else:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        self._console.print(Text(printable(self._wording(text))), soft_wrap=True)

    def on_phase(self, text: str, total: int | None) -> None:
        """A new bar; without a total it only shows that something goes on."""
        self._remove_task()
        self._task = self._bar.add_task(printable(text), total=total, detail="")
        self._draw(now=True)
        if self._bar.disable:
            self.say(text)

    def on_done(self, count: int) -> None:
        """`count` more examples predicted."""
        if self._task is not None:
            self._bar.advance(self._task, count)
            self._draw()

    def on_step(self, event: StepEvent) -> None:
        """The bar runs over the optimizer steps of the whole training."""
        if self._task is not None:
            detail = f"epoch {event.epoch}  loss {event.loss:.3f}"
            self._bar.update(self._task, total=event.steps, completed=event.step, detail=detail)
            self._draw()

    def on_epoch(self, event: EpochEvent) -> None:
        """One line an epoch stays on the screen."""
        score = "" if event.dev_score is None else f"  dev {self._metric or event.metric} {event.dev_score:.4f}"
        kept = "  (best so far)" if event.best else ""
        self.say(f"epoch {event.epoch}: {event.seconds:.1f} s{score}{kept}")

    def _remove_task(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _draw(self, *, now: bool = False) -> None:
        """Update a notebook's display; a terminal's bar is drawn by rich's own thread."""
        if self._display is not None and (now or time.monotonic() - self._drawn_at >= NOTEBOOK_REFRESH_SECONDS):
            self._display.update(self._bar)
            self._drawn_at = time.monotonic()


class NoProgress:
    """An observer of a run that shows nothing."""

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def on_phase(self, text: str, total: int | None) -> None:
        pass

    def on_done(self, count: int) -> None:
        pass

    def on_step(self, event: StepEvent) -> None:
        pass

    def on_epoch(self, event: EpochEvent) -> None:
        pass
