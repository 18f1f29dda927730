"""Texts that --max-length cuts are counted: on screen, in the result, and in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from semtune.api.run import Run
from semtune.cli.predict import predict
from semtune.records import CutTexts, Plan, RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runs.folder import read_result
from semtune.runs.runner import run
from semtune.specs import spec_from

from .test_runner import Silent

PLAN = Plan("lora", fits=True)
"""Spares the run its own plan."""
MAX_LENGTH = 24
LONG = " ".join(["and the soup went on"] * 8)


class Saying(Silent):
    """An observer that remembers what was said, and how many steps had been made then."""

    def __init__(self) -> None:
        self.steps, self.said = 0, []

    def on_step(self, event: Any) -> None:
        self.steps += 1

    def say(self, text: str) -> None:
        self.said.append((self.steps, text))


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> RunSpec:
    """A table of 40 texts, of which every fourth is long."""
    file = tmp_path / "data.csv"
    rows = [f"text {i}{' ' + LONG if i % 4 == 0 else ''},{'ab'[i % 2]}" for i in range(40)]
    file.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    plain = {"task": "table", "model": str(tiny_model), "epochs": 1, "precision": "fp32", "max_length": MAX_LENGTH}
    return spec_from({**plain, "task_options": TaskOptions(data=str(file))}, "the test")


def expected(spec: RunSpec, tiny_model: Path, split: str) -> CutTexts:
    """Counted with transformers' own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    examples = TASKS.get("table")(spec.task_options).load(split)
    lengths = [len(tokenizer(f"{e.text} <tech:>").input_ids) for e in examples]
    over = [n - MAX_LENGTH for n in lengths if n > MAX_LENGTH]
    return CutTexts(len(over), len(examples), sum(over), MAX_LENGTH)


def test_cut_texts_are_said_before_training_and_recorded(spec: RunSpec, tiny_model: Path, tmp_path: Path) -> None:
    observer = Saying()
    result = run(spec, tmp_path / "run", observer, plan=PLAN)
    assert result.status == "ok"
    for split in ("train", "dev", "test"):
        want = expected(spec, tiny_model, split)
        found = result.cut_texts.get(split)
        assert (found is None) == (want.texts == 0)
        if found is not None:  # the cut may take a token or two more than it must, where tokens merge at the cut
            assert (found.texts, found.examples, found.max_length) == (want.texts, want.examples, MAX_LENGTH)
            assert want.tokens <= found.tokens <= want.tokens + 2 * found.texts
            assert any(text == found.sentence(f"{split} texts") for _, text in observer.said)
    assert next(steps for steps, text in observer.said if "train texts" in text) == 0
    assert read_result(tmp_path / "run" / "result.json") == result


def test_predicting_says_what_it_cuts_and_keeps_the_lines_of_a_file(
    spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observer = Saying()
    result = run(replace(spec, max_length=200), tmp_path / "run", observer, plan=PLAN)
    assert result.cut_texts == {} and observer.said == []
    file = tmp_path / "texts.txt"
    lines = ["one\u2028line", "", "one\x85\x0c\x0b\x1cline", 4 * LONG]
    file.write_bytes("\r\n".join(lines).encode())
    assert predict(run=tmp_path / "run", file=file, json=True) == 0
    shown = capsys.readouterr()
    answers = json.loads(shown.out.splitlines()[-1])
    assert [answer["text"] for answer in answers] == lines
    assert [answer["labels"] is None for answer in answers] == [False, True, False, False]
    assert "line 2 is blank and gets no prediction" in shown.err
    assert "1 of 3 texts are longer than --max-length 200 allows" in shown.err
    assert predict(run=tmp_path / "run", file=file) == 0
    assert [bool(line.split("\t")[1]) for line in capsys.readouterr().out.splitlines()] == [True, False, True, True]
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than --max-length 200 allows"):
        Run(tmp_path / "run", progress=False).predict(["short", 4 * LONG])
