"""The line of a transcript: gold where it is known, and never otherwise."""

from __future__ import annotations

import json

import pytest

from semtune.approaches.transcript import transcript_line
from semtune.records import Example, FreeText, LabelSet, Prediction, SingleLabel, Span, Spans


def test_a_line_has_what_is_known() -> None:
    example = Example("1", "words", LabelSet(("a", "b")), date="2021-03-05")
    made = transcript_line(example, Prediction("1", LabelSet(()), parsed=False), [{"prompt": "p"}], [{"thought": "t"}])
    assert made == {
        "id": "1", "text": "words", "date": "2021-03-05", "gold": {"labels": ["a", "b"]}, "prediction": {"labels": []},
        "parsed": False, "calls": [{"prompt": "p"}], "notes": [{"thought": "t"}],
    }  # fmt: skip


def test_an_unlabelled_text_has_no_gold() -> None:
    made = transcript_line(Example("1", "words", None), Prediction("1", SingleLabel("a")), [], [])
    assert made == {"id": "1", "text": "words", "prediction": {"labels": ["a"]}, "parsed": True, "calls": []}


@pytest.mark.parametrize(
    ("target", "plain"),
    [
        (Spans((Span(0, 3, "a"),)), {"spans": [{"start": 0, "end": 3, "label": "a"}]}),
        (FreeText("an answer"), {"text": "an answer"}),
    ],
)
def test_targets_of_every_kind_are_json(target: Spans | FreeText, plain: dict) -> None:
    made = transcript_line(Example("1", "words", target), Prediction("1", target), [], [])
    assert json.loads(json.dumps(made))["gold"] == plain
    assert made["prediction"] == plain
