"""What a run shows while it works: a bar with time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from semtune.training.loop import EpochEvent, StepEvent


class RunBar:
    """An observer of a run that draws on standard error. Use it as a context manager."""

    def __init__(self, metric: str = "score") -> None:
        """`metric`: the title of the task's primary metric."""
        self._metric = metric
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal or "SEMTUNE_NO_PROGRESS" in os.environ,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> RunBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_phase(self, text: str, total: int | None) -> None:
        """A new bar; without a total it only shows that something goes on."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total, detail="")
        if self._bar.disable:
            self._console.print(text, highlight=False)

    def on_done(self, count: int) -> None:
        """`count` more examples predicted."""
        if self._task is not None:
            self._bar.advance(self._task, count)

    def on_step(self, event: StepEvent) -> None:
        """The bar runs over the optimizer steps of the whole training."""
        if self._task is not None:
            detail = f"epoch {event.epoch}  loss {event.loss:.3f}"
            self._bar.update(self._task, total=event.steps, completed=event.step, detail=detail)

    def on_epoch(self, event: EpochEvent) -> None:
        """One line an epoch stays on the screen."""
        metric = event.metric.replace("_", "-").replace("f1", "F1")
        score = "" if event.dev_score is None else f"  dev {metric} {event.dev_score:.4f}"
        kept = "  (best so far)" if event.best else ""
        self._console.print(f"epoch {event.epoch}: {event.seconds:.1f} s{score}{kept}", highlight=False)
