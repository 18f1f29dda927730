"""Ctrl-C: the run ends soon, says so, and what it learnt so far can be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Semtune


def wait_for(path: Path, text: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and text in path.read_text(encoding="utf-8"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never held {text}")


def test_an_interrupted_run_can_be_used(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "semtune", "tune", "--task", "practice", "--model", str(tiny_model)]
    command += ["--epochs", "500", "--out", "run"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a shell runs in the background ignores the signal, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        wait_for(tmp_path / "run" / "metrics.jsonl", '"epoch": 2')
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "Traceback" not in stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "interrupted" in result["reason"]
    assert "\t" in semtune("predict", "run", "Marrowby marmalade is the best in the valley").stdout


def test_an_interrupted_study_interrupts_its_runs_and_keeps_what_finished(tiny_model: Path, tmp_path: Path) -> None:
    """The signal goes to the study alone; both runs under way end with a result and their weights."""
    (tmp_path / "study.yaml").write_text(
        f"task: practice\nmodel: {tiny_model}\nmethods: [lora, full]\nepochs: 500\nthreads: 1\n"
        "parallel: 2\nbaselines: [top-1]\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "semtune", "study", "study.yaml", "--out", "study"],
        cwd=tmp_path,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as study:
        runs = [tmp_path / "study" / f"{method}-head-report-s0" for method in ("lora", "full")]
        for run in runs:
            wait_for(run / "metrics.jsonl", '"step": 3')
        study.send_signal(signal.SIGINT)
        _, said = study.communicate(timeout=120)
    assert study.returncode == 130
    assert "Traceback" not in said
    for run in runs:
        assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
        assert (run / "adapter").exists()
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert record["runs"] == []
    assert [b["status"] for b in record["baselines"]] == ["ok"]


def test_the_runs_of_a_study_that_was_killed_end_too(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        f"task: practice\nmodel: {tiny_model}\nmethods: [lora]\nepochs: 500\nthreads: 1\nbaselines: []\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "semtune", "study", "study.yaml", "--out", "study"],
        cwd=tmp_path,
        env=dict(os.environ),
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as study:
        run = tmp_path / "study" / "lora-head-report-s0"
        wait_for(run / "metrics.jsonl", '"step": 3')
        study.kill()
    wait_for(run / "result.json", '"interrupted"')


EARLY = '''
import os, signal, sys

class Impatient:
    """Sends Ctrl-C as soon as the import of {module} begins."""

    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
'''


@pytest.mark.parametrize("module", ["semtune.errors", "semtune.records", "typer", "semtune.cli.list", "torch"])
def test_ctrl_c_during_the_commands_own_imports(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(EARLY.format(module=module))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "semtune", "doctor"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted; what was finished is kept\n"
