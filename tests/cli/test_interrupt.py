"""Ctrl-C: the run ends soon, says so, and what it learnt so far can be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .conftest import Semtune


def wait_for(path: Path, text: str, seconds: float = 120) -> None:
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
