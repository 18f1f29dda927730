"""How `semtune predict` shows each kind of target."""

from __future__ import annotations

from semtune.cli.predict import _plain, _shown
from semtune.records import FreeText, LabelSet, Prediction, SingleLabel, Span, Spans

TEXT = "Vote for\nNorbury jam!"


def test_labels() -> None:
    both = Prediction("1", LabelSet(("a", "b")), probabilities={"a": 0.9, "b": 0.55})
    assert _shown(TEXT, both) == "a (0.90); b (0.55)"
    assert _shown(TEXT, Prediction("1", LabelSet(()))) == "(none)"
    assert _shown(TEXT, Prediction("1", SingleLabel("a"))) == "a"
    assert _plain(both.output) == {"labels": ["a", "b"]} and _plain(SingleLabel("a")) == {"labels": ["a"]}


def test_spans_show_their_text() -> None:
    spans = Spans((Span(0, 4, "Call"), Span(5, 16, "Name")))
    assert _shown(TEXT, Prediction("1", spans)) == "Call: Vote; Name: for Norbury"
    assert _plain(spans)["spans"][0] == {"start": 0, "end": 4, "label": "Call"}


def test_a_free_text_stays_on_one_line() -> None:
    assert _shown(TEXT, Prediction("1", FreeText("two\nlines"))) == "two lines"
    assert _shown(TEXT, Prediction("1", FreeText(" "))) == "(none)"
    assert _plain(FreeText("two\nlines")) == {"output": "two\nlines"}
