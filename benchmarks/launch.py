"""Run one contestant in a process of its own and read what it printed; what goes wrong becomes {"error": reason}."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 300.0


def launch(program: str, settings: Mapping[str, Any], timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """The JSON object on the last line of `python -m benchmarks.contestants.<program> <settings>`.

    Its standard error and the rest of its output are dropped; of a crash the last line is kept.
    """
    command = [sys.executable, "-m", f"benchmarks.contestants.{program}", json.dumps(dict(settings))]
    return run(command, int(settings["threads"]), timeout)


def run(command: list[str], threads: int, timeout: float, *, offline: bool = True) -> dict[str, Any]:
    """The JSON object on the last line that `command` prints. It and its children are ended after `timeout` seconds."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(threads, offline), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", errors="replace",
        )  # fmt: skip
        with process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                return {"error": f"not done after {timeout:g} s"}
            except BaseException:  # Ctrl-C: no contestant outlives the bench
                _end(process)
                raise
        log.seek(0)
        return parse(output, log.read(), process.returncode)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a contestant that still runs, and the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def parse(output: str, errors: str, status: int) -> dict[str, Any]:
    """The object on the last line of `output`, or {"error": …} with what can be said."""
    lines = output.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if lines else None
    except ValueError:
        result = None
    if isinstance(result, dict):
        if "error" in result:
            return {"error": scrub(str(result["error"]))}
        if status == 0:
            return result
    said = errors.strip().splitlines()
    cause = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return {"error": scrub(f"{cause}, no result" + (f"; {said[-1]}" if said else ""))}


def environment(threads: int, offline: bool = True) -> dict[str, str]:
    """Of all contestants alike: the same threads; nothing is asked of the hub, as models and data are on disk."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    hub = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"} if offline else {}
    return {**os.environ, **own, **hub}


def scrub(text: str) -> str:
    """`text` without this machine's folders, for records that are published."""
    folders = {
        str(REPOSITORY): ".",
        sys.prefix: ".venv",
        tempfile.gettempdir(): "<tmp>",
        str(Path.home()): "~",
    }
    for folder in sorted(folders, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(folder, folders[folder])
    return text[:400]
