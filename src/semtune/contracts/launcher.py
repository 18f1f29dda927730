"""The contract of a launcher, which starts a study's runs: in local processes, or on many machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from semtune.records import RunResult, RunSpec


class Launcher(Protocol):
    """Starts runs and waits for them. Constructed as `LauncherClass(parallel)`, the most runs under way at once.

    A handle stands for one run under way; it is hashable and the launcher's own.
    """

    def __init__(self, parallel: int) -> None: ...

    def submit(self, spec: RunSpec, folder: Path) -> Any:
        """Start the run of a resolved `spec`, which leaves its run folder at `folder`; returns its handle.

        The study has left the run's id beside `folder`: `runs.runner.run` takes it from there into the result, and the
        study takes no other result for this run's. What an earlier run has trained in `folder` must not be removed;
        with `overwrite=True` the runner sees to that.
        """
        ...

    def wait(self, handles: Sequence[Any]) -> tuple[Any, RunResult]:
        """Wait until one of `handles` has ended, whatever its end; that handle and its result.

        For a run that ended without a result the launcher makes one up: `runs.outcome.unmeasured`, with a reason.
        A run that somebody interrupted has the status "interrupted". Raises KeyboardInterrupt when the user
        interrupts the waiting itself; the runs are then still under way.
        """
        ...

    def interrupt(self, handles: Sequence[Any]) -> list[tuple[Any, RunResult]]:
        """Interrupt the runs of `handles`, let them keep what they have, and wait for their end."""
        ...
