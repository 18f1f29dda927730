"""Runs under way: started through a launcher as there is room, waited for, and interrupted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semtune.contracts import Launcher
from semtune.records import RunResult, RunSpec
from semtune.runs import identity
from semtune.runs.outcome import unmeasured

STALE = "what the launcher gave back is not the result of this run: it has another id, or is of another spec"


@dataclass(frozen=True)
class Job:
    """One run of the study: the line that announces it, its spec, its run folder."""

    title: str
    spec: RunSpec
    folder: Path


def drive(
    launcher: Launcher,
    parallel: int,
    next_job: Callable[[], Job | None],
    on_result: Callable[[Job, RunResult], None],
    data: str,
) -> None:
    """Run the jobs that `next_job` returns, up to `parallel` at once.

    Args:
        next_job: the next job; None: there is none now, and none at all when nothing is under way.
        on_result: receives each job with its checked result.
        data: the fingerprint of the data, whose notes have been said.

    Raises KeyboardInterrupt when the user stops the waiting, and what `on_result` raises. The other runs are
    interrupted then, and those that had finished meanwhile are handed to `on_result`.
    """
    active: dict[Any, tuple[Job, str]] = {}
    try:
        while True:
            while len(active) < parallel and (job := next_job()) is not None:
                run_id = identity.request(job.folder, job.spec, told=data)
                active[launcher.submit(job.spec, job.folder)] = (job, run_id)
            if not active:
                return
            handle, result = launcher.wait(list(active))
            job, run_id = active[handle]
            result = _checked(result, job, run_id)
            del active[handle]
            identity.withdraw(job.folder)
            on_result(job, result)
    except BaseException:
        for handle, result in launcher.interrupt(list(active)):
            job, run_id = active[handle]
            checked = _checked(result, job, run_id)
            if checked.status != "interrupted":
                identity.withdraw(job.folder)
                on_result(job, checked)
        for job, _ in active.values():
            identity.withdraw(job.folder)
        raise


def _checked(result: RunResult, job: Job, run_id: str) -> RunResult:
    """`result` with the id of its run, if it is that run's; else one that says that it is not."""
    if identity.belongs_to(result, job.spec, run_id):
        return replace(result, run_id=run_id)
    return unmeasured(job.spec, "failed", reason=STALE, run_id=run_id)
