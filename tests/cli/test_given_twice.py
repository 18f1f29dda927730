"""Options that would be dropped unsaid: given twice, beside a file that decides them, or for another approach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def refused(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "semtune", *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "--task", "practice", "--out", "o", "--seed", "1", "--seed", "2"], "--seed is given 2 times"),
        (["tune", "--task", "table", "--out", "o", "--data", "a", "--data", "b"], "--data is given 2 times"),
        (["predict", "run", "--file", "a", "--file", "b"], "--file is given 2 times"),
        (["tune", "--task", "practice", "--out", "o", "--baseline", "top-1"], "give --approach baseline"),
        (["tune", "--task", "practice", "--out", "o", "--strategy", "zero-shot"], "give --approach prompted"),
        (["predict", "run", "a text", "--encoding", "klingon"], "are about --file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_that_was_given_is_dropped(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


def test_a_spec_decides_everything(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("task: practice\n", encoding="utf-8")
    said = refused("tune", "--spec", str(spec), "--out", str(tmp_path / "o"), "--epochs", "3", "--data", "other.csv")
    assert "--epochs" in said and "--data" in said and "would not be used" in said
