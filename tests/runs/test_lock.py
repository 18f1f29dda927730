"""One process writes to a run folder; another one is told who it is, and a dead one's lock is taken over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semtune.errors import DataError, OutputError
from semtune.records import RunSpec
from semtune.runs.lock import HOLDER, LOCK, locked
from semtune.runs.runner import run

from .test_runner import Silent

TOP = RunSpec("practice", approach="baseline", baseline="top-1")


def test_a_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked(out), pytest.raises(OutputError, match=rf"in use by process {os.getpid()} on this machine, since 2"):
        run(TOP, out, Silent())
    assert not out.exists(), "nothing is left of either"
    assert run(TOP, out, Silent()).status == "ok"
    assert not {LOCK, HOLDER} & {path.name for path in out.iterdir()}


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom semtune.runs.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], check=False, timeout=60)
    assert (tmp_path / "run" / LOCK).exists() and (tmp_path / "run" / HOLDER).exists()
    assert run(TOP, tmp_path / "run", Silent()).status == "ok"


def test_the_lock_of_another_machine_names_it(tmp_path: Path) -> None:
    with locked(tmp_path):
        holder = json.loads((tmp_path / HOLDER).read_text())
        (tmp_path / HOLDER).write_text(json.dumps(holder | {"host": "elsewhere"}))
        with pytest.raises(OutputError, match="on the machine elsewhere"), locked(tmp_path):
            pass
        (tmp_path / HOLDER).write_text("{")
        with pytest.raises(OutputError, match="in use by another process"), locked(tmp_path):
            pass


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise DataError("There are no texts.")

    monkeypatch.setattr("semtune.runs.runner.load_data", refuse)
    with pytest.raises(DataError):
        run(TOP, tmp_path / "a" / "run", Silent())
    assert not (tmp_path / "a").exists()
