"""Processes that stay and take job after job; one that dies is a row with its reason, and another takes its place."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

Work = Callable[[Any], Mapping[str, Any]]
"""What a worker does with a job. Its result may say {"unusable": true}: the process is not to be used any more."""
UNUSABLE = "unusable"


class _Worker:
    def __init__(self, prepare: Callable[[Any], Work], settings: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a forked child could not use CUDA
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, settings), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> dict[str, Any]:
        """The job's result; of a process that died, the reason."""
        try:
            return dict(self.connection.recv())
        except EOFError:
            self._process.join(10)
            return {"error": f"the worker process died (exit status {self._process.exitcode})", UNUSABLE: True}

    def send(self, job: Any) -> bool:
        """Whether the process took the job."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.connection.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()


def run_all(
    count: int,
    prepare: Callable[[Any], Work],
    settings: Any,
    next_job: Callable[[], Any | None],
    on_result: Callable[[Any, dict[str, Any]], None],
) -> None:
    """Do all jobs in up to `count` processes.

    Args:
        prepare: called once in each process with `settings`; returns what does a job. Both are pickled.
        next_job: the next job; None: there is none now.
        on_result: called in this process as each job ends.
    """
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, Any]] = {}
    try:
        while True:
            while len(busy) < count and (job := next_job()) is not None:
                worker = idle.pop() if idle else _Worker(prepare, settings)
                if not worker.send(job):
                    worker = _Worker(prepare, settings)
                    worker.send(job)
                busy[worker.connection] = worker, job
            if not busy:
                return
            for connection in wait(list(busy)):
                worker, job = busy.pop(connection)  # type: ignore[arg-type]
                result = worker.receive()
                if result.pop(UNUSABLE, False):
                    worker.close()
                else:
                    idle.append(worker)
                on_result(job, result)
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.close()


def _serve(connection: Connection, prepare: Callable[[Any], Work], settings: Any) -> None:
    """Do jobs until the other end closes."""
    work = prepare(settings)
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        connection.send(dict(work(job)))
