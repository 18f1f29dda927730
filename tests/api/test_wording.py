"""What is wrong is said to a caller from Python in Python's words: keywords, and data in memory as splits."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import semtune
from semtune.api.wording import in_python, spoken_python
from semtune.errors import DataError, ModelError, OptionError

from .conftest import MOODS, TEXTS

Tune = Callable[..., semtune.Run]
SOURCE = Path(semtune.__file__).parent
FOLDER = Path("/somewhere/run/data")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("give --label-separator with it", "give label_separator= with it"),
        ("name it with --text-column.", "name it with text_column=."),
        ("give --batch-size 1 --accumulation-steps 8", "give batch_size=1 accumulation_steps=8"),
        ("give --encoding utf-16 (it is UTF-16)", "give encoding='utf-16' (it is UTF-16)"),
        ("--test-fraction must be below 1", "test_fraction= must be below 1"),
        ("give --separator ';'", "give separator=';'"),
        ("see --text-column NAME or --labels", "see text_column=NAME or labels="),
        ("give --fused-update too", "give fused_update=True too"),
        ("give --no-master-weights", "give master_weights=False"),
        ("`semtune plan` says it, `--fit` does it", "`semtune plan` says it, `fit=True` does it"),
        ("see `semtune list methods --options`", "see `semtune list methods --options`"),
        ("run `semtune tune --out X`, or give --out", "run `semtune tune --out X`, or give out="),
        ("ranks 2 -- 8, e.g. well--known", "ranks 2 -- 8, e.g. well--known"),
    ],
)
def test_options_are_keywords(said: str, meant: str) -> None:
    assert in_python(said, FOLDER) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (f"{FOLDER}/train-0123456789ab.jsonl, line 4: no text", "row 4 of the train split: no text"),
        (f"{FOLDER}/test-0123456789ab.jsonl is empty", "the test split is empty"),
        ("/elsewhere/data/train-0123456789ab.jsonl, line 4", "/elsewhere/data/train-0123456789ab.jsonl, line 4"),
        (f"{FOLDER}/mine.jsonl, line 4", f"{FOLDER}/mine.jsonl, line 4"),
    ],
)
def test_files_that_hold_data_in_memory_are_splits(said: str, meant: str) -> None:
    assert in_python(said, FOLDER) == meant


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "good,bad"}, 'must be a list, not "good,bad"; write labels=["good", "bad"].'),
        ({"labels": "no"}, 'must be a list, not "no"; write labels=["no"].'),
        ({"epochs": True}, '"epochs" must be a number, not True.'),
        ({"precision": True}, '"precision" must be a text, not True.'),
    ],
)
def test_values_are_not_written_as_in_a_file(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        semtune.tune((TEXTS, MOODS), model="any", out=tmp_path / "run", **options)
    assert str(caught.value).endswith(said)


def test_notes_that_are_shown_name_keywords(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    tune((TEXTS, ["good;bad" if i % 5 == 0 else mood for i, mood in enumerate(MOODS)]), progress=True)
    shown = capsys.readouterr().err
    assert "name that with label_separator=" in shown and "--label" not in shown


def sentences() -> list[str]:
    """Every literal of the source with an option in it, that of formatted strings with a word for each value."""
    found = []
    for file in (file for file in SOURCE.rglob("*.py") if "cli" not in file.relative_to(SOURCE).parts):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documents = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "word" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                found.append(node.value)
    return [text for text in found if " " in text and re.search(r"(?<![\w-])--[a-z]", text)]


def test_no_sentence_of_the_source_keeps_an_option_of_the_command_line() -> None:
    texts = sentences()
    assert len(texts) > 100
    for text in texts:
        outside = re.sub(r"`(semtune|pip|python)[^`]*(`|$)", "", in_python(text, FOLDER))
        left = set(re.findall(r"(?<![\w-])--[a-z-]+", outside))
        assert left <= {"--accept-terms", "--dequantize", "--help", "--json", "--options", "--quiet", "--spec"}, text


def test_type_cause_and_place_of_an_error_stay() -> None:
    cause = ValueError("why")
    with pytest.raises(ModelError) as caught, spoken_python(FOLDER):
        raise ModelError("give --precision nf4") from cause
    assert (str(caught.value), caught.value.__cause__) == ("give precision='nf4'", cause)
    assert caught.traceback[-1].name == "test_type_cause_and_place_of_an_error_stay"


def test_a_fault_in_a_frame_names_its_row_and_a_keyword() -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": MOODS})
    frame.loc[3, "label"] = "#REF!"
    with pytest.raises(DataError) as caught:
        semtune.tune(frame, progress=False)
    assert "row 4 of the train split" in str(caught.value)
    assert "--" not in str(caught.value)
    assert ".jsonl" not in str(caught.value)
