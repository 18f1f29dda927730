"""Starting one run in a process of its own, so that its memory is its own and its end cannot take the study along."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from semtune.errors import SemtuneError
from semtune.records import RunResult, RunSpec, Status
from semtune.runs.folder import RunFolder, read_result, write_json
from semtune.specs import write_spec

INTERRUPTED = 130
"""Exit status of a command that the user interrupted."""


class Launcher(Protocol):
    """Who runs one run of a study: this machine's processes, or an engine for many machines."""

    def run(self, spec: RunSpec, folder: Path) -> RunResult:
        """Run to the end, whatever the end is. Raises KeyboardInterrupt when the user interrupted it."""
        ...


class ProcessLauncher:
    """`semtune tune --spec` in a child process; its progress goes to the same standard error."""

    def run(self, spec: RunSpec, folder: Path) -> RunResult:
        """As `Launcher.run`. A child that the system killed becomes an out-of-memory result."""
        with tempfile.TemporaryDirectory(prefix="semtune-") as temporary:
            file = Path(temporary) / "spec.yaml"
            write_spec(spec, file)
            command = [sys.executable, "-m", "semtune", "tune", "--spec", str(file), "--out", str(folder)]
            child = subprocess.Popen([*command, "--overwrite", "--json"], stdout=subprocess.PIPE, text=True)
            try:
                output, _ = child.communicate()
            except KeyboardInterrupt:
                # The terminal has interrupted the child too: let it keep its weights and write its result.
                child.communicate()
                raise
        if child.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        if RunFolder(folder).result.exists():
            return read_result(RunFolder(folder).result)
        return _without_result(spec, folder, child.returncode, output)


def _without_result(spec: RunSpec, folder: Path, status: int, output: str) -> RunResult:
    """The result of a child that could not write one."""
    outcome: Status = "failed"
    if status == -signal.SIGKILL:
        outcome, reason = "out_of_memory", "the system killed the run, as it does when memory runs out"
    else:
        reason = _said_error(output) or f"the run ended with exit status {status} and wrote no result"
    result = RunResult(
        task=spec.task, model=spec.model, method=spec.method, prompt=spec.prompt, readout=spec.readout,
        preset=spec.preset, seed=spec.seed, status=outcome, reason=reason, out=folder.name,
    )  # fmt: skip
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


def finished(spec: RunSpec, folder: Path) -> RunResult | None:
    """The result of an earlier run of the very same spec in `folder` that ended well; None: run it."""
    from semtune.specs import read_spec, resolve

    paths = RunFolder(folder)
    if not (paths.result.exists() and paths.spec.exists() and paths.adapter.exists()):
        return None
    try:
        result = read_result(paths.result)
        return result if result.status == "ok" and resolve(read_spec(paths.spec)) == spec else None
    except SemtuneError:
        return None
