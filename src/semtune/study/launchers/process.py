"""Each run in a process of its own, so that its memory is its own and its end cannot take the study along."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from semtune.errors import SemtuneError
from semtune.records import RunResult, RunSpec, Status
from semtune.runs.folder import RunFolder, read_result, write_json
from semtune.runs.identity import requested
from semtune.runs.outcome import unmeasured
from semtune.runs.succession import run_folders
from semtune.runtime.children import PYTHON, child_environment, ending_of, group_options, interrupt
from semtune.runtime.parent import VARIABLE
from semtune.specs import write_spec

POLL_SECONDS = 0.05


@dataclass(frozen=True, eq=False)
class Child:
    """A run under way: its process, what it prints on standard output, and its spec's file."""

    spec: RunSpec
    folder: Path
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    """A file rather than a pipe, so that no child waits for somebody to read."""
    temporary: tempfile.TemporaryDirectory[str]
    run_id: str | None
    """The id that the study requested the run with."""


class ProcessLauncher:
    """`semtune tune --spec` in child processes; `contracts.Launcher`.

    Children have a process group of their own, so that the study interrupts each of them exactly once, and they are
    interrupted when the study dies (`runtime.children`, `runtime.parent`). Their progress goes to the same standard
    error; where several are under way it has no bars.
    """

    def __init__(self, parallel: int) -> None:
        # SEMTUNE_PLUGINS is in the environment, so children know the plugins too.
        self._environment = child_environment(**{VARIABLE: str(os.getpid())})
        if parallel > 1:
            self._environment["SEMTUNE_NO_PROGRESS"] = "1"

    def submit(self, spec: RunSpec, folder: Path) -> Child:
        """Start a child."""
        run_id = requested(folder, spec)
        temporary = tempfile.TemporaryDirectory(prefix="semtune-")
        file = Path(temporary.name) / "spec.yaml"
        write_spec(spec, file)
        command = [*PYTHON, "-m", "semtune", "tune", "--spec", str(file), "--out", str(folder)]
        if spec.trust_remote_code:  # given on the study's own command line; the spec's file has no say in it
            command.append("--trust-remote-code")
        output = (Path(temporary.name) / "output").open("w+b")
        process = subprocess.Popen(
            [*command, "--overwrite", "--json"],
            stdout=output,
            env=self._environment,
            **group_options(),
        )
        return Child(spec, folder, process, output, temporary, run_id)

    def wait(self, handles: Sequence[Child]) -> tuple[Child, RunResult]:
        """Wait for the first child to end; one that the system killed becomes an out-of-memory result."""
        if len(handles) == 1:
            handles[0].process.wait()
        while True:
            for child in handles:
                if child.process.poll() is not None:
                    return child, _result_of(child)
            time.sleep(POLL_SECONDS)

    def interrupt(self, handles: Sequence[Child]) -> list[tuple[Child, RunResult]]:
        """Interrupt every child, and wait while they keep their weights and write their results."""
        for child in handles:
            interrupt(child.process)
        for child in handles:
            child.process.wait()
        return [(child, _result_of(child)) for child in handles]


def _result_of(child: Child) -> RunResult:
    """The result that an ended child wrote, or one that says how it ended."""
    child.output.seek(0)
    printed = child.output.read().decode("utf-8", errors="replace")
    child.output.close()
    child.temporary.cleanup()
    for folder in run_folders(child.folder):
        if child.run_id is not None and folder.result.exists():
            with contextlib.suppress(SemtuneError):  # damaged, so not this child's, who writes it whole or not at all
                result = read_result(folder.result)
                if result.run_id == child.run_id:
                    return result
    return _without_result(child.spec, child.folder, child.process.returncode, printed, child.run_id)


def _without_result(spec: RunSpec, folder: Path, status: int, output: str, run_id: str | None = None) -> RunResult:
    """The result of a child that wrote none; it is written where no earlier run has left anything trained."""
    outcome: Status = "failed"
    ending = ending_of(status)
    if ending == "interrupted":
        outcome, reason = "interrupted", "interrupted by the user"
    elif ending == "killed":
        outcome, reason = "out_of_memory", "the system killed the run, as it does when memory runs out"
    else:
        reason = _said_error(output) or f"the run ended with exit status {status} and wrote no result"
    result = unmeasured(spec, outcome, reason=reason, out=folder.name, run_id=run_id)
    if RunFolder.current(folder).kept() is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_spec(spec, RunFolder(folder).spec)
        write_json(RunFolder(folder).result, result)
    return result


def _said_error(output: str) -> str | None:
    """The message of `{"error": …}` on the last line of a command's output, if that is what it is."""
    lines = output.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    return str(value["error"]) if isinstance(value, dict) and "error" in value else None
