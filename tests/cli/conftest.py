"""The command as a user runs it: a real process, a tiny model in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..fork_server import ForkServer

Semtune = Callable[..., subprocess.CompletedProcess[str]]


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document of a command with --json: its last line of standard output."""
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def semtune(tmp_path: Path, request: pytest.FixtureRequest, known_rates: Path) -> Semtune:
    """Runs `semtune ARGUMENTS` in its own process; its working folder is `tmp_path`."""
    shutil.copytree(known_rates, tmp_path / "cache")

    def run(*arguments: object, check: int | None = 0, columns: int = 100) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SEMTUNE_CACHE": str(tmp_path / "cache"), "COLUMNS": str(columns)}
        words = [str(argument) for argument in arguments]
        if hasattr(os, "fork"):
            server: ForkServer = request.getfixturevalue("fork_server")
            done = server.run(words, cwd=tmp_path, env=environment, timeout=300)
        else:
            command = [sys.executable, "-m", "semtune", *words]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        if check is not None:
            assert done.returncode == check, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    return run
