"""Paths that no file or folder can have, and those that no record can name: one sentence, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Semtune
from .test_bad_input import refuse

LONG, FOREIGN = "x" * 300, "l\udce9"
"""A name that is too long, and one with a byte that is not UTF-8, as Python reads it from the command line."""
TUNE = ["tune", "--task", "practice", "--approach", "baseline", "--baseline", "top-1"]
MODEL = ["tune", "--task", "practice", "--out", "run", "--model"]
DATA = ["tune", "--task", "table", "--approach", "baseline", "--baseline", "top-1", "--out", "run", "--data"]
ASK = ["tune", "--task", "practice", "--approach", "prompted", "--strategy", "zero-shot", "--out", "run"]
STUDY = ["study", "--task", "practice", "--methods", "lora"]


@pytest.mark.parametrize(
    "command",
    [
        [*TUNE, "--out", "NAME"], [*TUNE, "--out", "runs/NAME/r"], [*MODEL, "NAME"], [*DATA, "NAME"],
        [*ASK, "--knowledge", "NAME"], [*STUDY, "--out", "NAME"], [*STUDY, "--model", "NAME"], ["study", "NAME"],
        ["study", "--task", "table", "--data", "NAME", "--methods", "lora"],
        ["tune", "--spec", "NAME", "--out", "run"], ["predict", "NAME", "soup"], ["predict", "NAME", "--file", "x.csv"],
        ["predict", "run", "--file", "NAME"], ["report", "NAME"], ["merge", "NAME", "--out", "m"],
        ["merge", "run", "--out", "NAME"], ["plan", "--model", "NAME"], ["plan", "--task", "table", "--data", "NAME"],
        ["evaluate", "--task", "practice", "--predictions", "NAME"], [*DATA, "x.csv", "--dev-data", "NAME"],
        ["tune", "--task", "semeval2021-task6-subtask1", "--data-dir", "NAME", "--out", "run"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", [LONG, FOREIGN])
def test_one_sentence(semtune: Semtune, tmp_path: Path, command: list[str], name: str) -> None:
    (tmp_path / "x.csv").write_text("text,label\nsoup,good\ntea,bad\n", encoding="utf-8")
    message = refuse(semtune, *(word.replace("NAME", name) for word in command))
    assert "xxx" in message or "\\udce9" in message
    assert not (tmp_path / "run").exists()
