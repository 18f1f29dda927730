"""How `semtune predict` shows each kind of target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semtune.cli.app import app
from semtune.cli.predict import _check_are_no_files, _checked, _own_table, _plain, _shown
from semtune.errors import OptionError
from semtune.records import FreeText, LabelSet, Prediction, RunSpec, SingleLabel, Span, Spans, TaskOptions
from semtune.specs import write_spec
from semtune.tasks.table import Table

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


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\t", "\u2028", "\u0085", "\x0b", "\x1e"])
def test_a_label_stays_on_one_line(mark: str) -> None:
    label = f"two{mark}lines"
    shown = [
        _shown(TEXT, Prediction("1", SingleLabel(label))),
        _shown(TEXT, Prediction("1", LabelSet((label,)), probabilities={label: 0.5})),
        _shown(TEXT, Prediction("1", Spans((Span(0, 4, label),)))),
    ]
    for line in shown:
        assert line.splitlines() == [line] and "\t" not in line and "two\\" in line


@pytest.mark.parametrize("mark", ["\n", "\t", "\u2028"])
def test_a_label_stays_on_its_line_of_a_table_of_scores(
    mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [f"two{mark}lines", "one"]
    rows = [{"text": f"text {i}", "label": labels[i % 2]} for i in range(20)]
    data, file = tmp_path / "t.jsonl", tmp_path / "p.json"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    gold = Table(TaskOptions(data=str(data))).load("dev")
    file.write_text(json.dumps([{"id": e.id, "labels": e.labels} for e in gold]), encoding="utf-8")
    arguments = ["evaluate", "--task", "table", "--data", str(data), "--predictions", str(file)]
    app(arguments, standalone_mode=False)
    captured = capsys.readouterr()
    assert "95% bootstrap interval" in captured.err
    assert captured.out.startswith("micro-F1 1.00000 (1.000 to 1.000)")
    assert [line.split()[0] for line in captured.out.splitlines()[2:]] == [
        "one",
        "two\\" + ascii(mark)[2:-1] + "lines",
    ]


def test_a_file_among_the_texts_is_to_be_given_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("warm soup\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"texts.txt is a file; give --file \S+texts.txt"):
        _check_are_no_files(["warm soup", str(tmp_path / "texts.txt")])
    _check_are_no_files(["warm soup", str(tmp_path), "no such.txt", "a\0b.txt", "x" * 5000 + ".txt"])


def test_how_the_runs_own_table_was_read(tmp_path: Path) -> None:
    options = TaskOptions(data=str(tmp_path / "t.txt"), text_column="comment", separator="pipe", quoting="none")
    (tmp_path / "t.txt").write_text("comment|label\n", encoding="utf-8")
    write_spec(RunSpec(task="table", task_options=options, method="lora"), tmp_path / "spec.yaml")
    assert _own_table(tmp_path) == (("comment", "text"), ("|",), "none")
    assert _own_table(tmp_path / "nowhere") == (("text",), (), "auto")


def test_a_text_that_shows_nothing_is_refused() -> None:
    assert _checked(["a"]) == ["a"]
    with pytest.raises(OptionError, match="Text 2 is empty"):
        _checked(["a", "\u200b"])
