"""Tables, figures and sentences follow the task's metrics, whatever they are called and whichever way is better."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from semtune.report.figures import course, trade_off
from semtune.report.html import render
from semtune.report.markdown import markdown_tables
from semtune.report.metrics_file import read_curve
from semtune.report.summary import summary
from semtune.report.tables import all_tables, leaderboard_table, quality_table, speed_table
from semtune.report.terminal import print_study
from semtune.report.view import load_study, view_of

from .conftest import run, study

DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "2026-11-25-demo" / "study.json"
ACCURACY = [
    {"name": "accuracy", "title": "accuracy", "higher_is_better": True},
    {"name": "kappa", "title": "Cohen's kappa", "higher_is_better": True, "short": "kappa"},
]
ERROR = [{"name": "edits", "title": "edit distance", "higher_is_better": False}]


def scores(primary: str, **values: float) -> dict[str, Any]:
    return {"primary": primary, **values, "parse_failures": 0.0, "per_label": {}, "examples": 60}


def accuracy_study() -> dict[str, Any]:
    def of(a: float, k: float) -> dict[str, Any]:
        return {"dev": scores("accuracy", accuracy=a, kappa=k), "test": scores("accuracy", accuracy=a, kappa=k)}

    bases = [{"name": "top-1", "scores": of(0.5, 0.0), "note": None}]
    board = [{"team": "A", "accuracy": 0.85, "kappa": 0.7}, {"team": "B", "accuracy": 0.6}]
    runs = [run("lora", scores=of(0.8, 0.6)), run("full", scores=of(0.7, 0.65))]
    return study(runs, metrics=ACCURACY, baselines=bases, leaderboard=board)


def error_study() -> dict[str, Any]:
    """Edit distances: lower is better, and they may exceed 1."""

    def of(edits: float) -> dict[str, Any]:
        return {"dev": scores("edits", edits=edits), "test": scores("edits", edits=edits)}

    bases = [{"name": name, "scores": of(e), "note": None} for name, e in (("copy", 9.0), ("random", 42.0))]
    board = [{"team": "A", "edits": 2.5}, {"team": "B", "edits": 7.5}]
    runs = [run("lora", scores=of(3.25)), run("full", scores=of(5.5))]
    return study(runs, metrics=ERROR, baselines=bases, leaderboard=board)


def column(table: Any, title: str) -> list[str]:
    index = [c.title for c in table.columns].index(title)
    return [row.cells[index].text for row in table.rows]


def test_a_metric_that_is_not_f1() -> None:
    record = accuracy_study()
    view = view_of(record)
    quality = quality_table(view)
    assert column(quality, "Test accuracy") == ["0.800", "0.700", "0.500"]
    assert column(quality, "Test Cohen's kappa") == ["0.600", "0.650", "0.000"]
    assert column(quality, "Dev accuracy") == ["0.800", "0.700", "0.500"]
    assert [c.short for c in quality.columns if c.title.startswith("Test")] == ["test accuracy", "test kappa"]
    assert [g.method for g in view.best()] == ["lora"]
    sentences = " ".join(summary(view))
    assert "The best test accuracy is 0.800, by lora: 0.300 above the strongest baseline, top-1 (0.500)." in sentences
    assert "F1" not in markdown_tables(record)
    assert trade_off(view).title == "Memory against quality (test accuracy)"


def test_a_leaderboard_of_other_metrics() -> None:
    board = leaderboard_table(view_of(accuracy_study()))
    assert board is not None
    assert column(board, "Team or run") == ["A", "lora", "full", "B"]
    assert column(board, "Place") == ["1", "(2)", "(2)", "2"]
    assert column(board, "Test Cohen's kappa") == ["0.700", "0.600", "0.650", "–"]


def test_lower_is_better() -> None:
    view = view_of(error_study())
    assert [g.method for g in view.best()] == ["lora"]
    bold = [row.cells[0].text for row in quality_table(view).rows if any(cell.bold for cell in row.cells)]
    assert bold == ["lora"]
    board = leaderboard_table(view)
    assert board is not None
    assert column(board, "Team or run") == ["A", "lora", "full", "B"]
    assert column(board, "Place") == ["1", "(2)", "(2)", "2"]
    sentences = " ".join(summary(view))
    expected = (
        "The best test edit distance (lower is better) is 3.250, by lora: 5.750 below the strongest baseline, copy"
    )
    assert expected in sentences


def test_figures_where_lower_is_better() -> None:
    """The strongest baseline is the lowest one; the axis goes beyond 1."""
    drawn = trade_off(view_of(error_study()))
    assert drawn.svg is not None
    assert "Lower left is better: less memory, lower edit distance." in drawn.caption
    assert "Baselines above the axis: random 42.000." in drawn.caption
    assert "copy" in drawn.svg and "5.50" in drawn.svg


@pytest.mark.parametrize("record", [accuracy_study(), error_study()], ids=["accuracy", "error"])
def test_page_and_terminal(record: dict[str, Any], write_study: Callable[[dict[str, Any]], Path]) -> None:
    folder = write_study(record)
    title = record["metrics"][0]["title"]
    for file in folder.glob("*/metrics.jsonl"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("dev_micro_f1", f"dev_{record['metrics'][0]['name']}"), encoding="utf-8")
        assert len(read_curve(file).dev) == 2
    page = render(load_study(folder), folder)
    assert f"Test {title}" in page and "micro" not in page
    assert course(view_of(record), folder).svg is not None
    screen = io.StringIO()
    print_study(record, Console(file=screen, width=200))
    assert f"test {title}" in " ".join(screen.getvalue().split()).lower()


def test_baselines_show_their_seconds_and_bytes() -> None:
    record = study([run("lora")])
    record["baselines"][0] |= {
        "status": "ok", "reason": None, "train_seconds": 1.27, "predict_examples_per_second": 5000.0,
        "peak_bytes": {"load": 400_000_000, "train": 512_000_000, "evaluate": 450_000_000},
    }  # fmt: skip
    view = view_of(record)
    speed, quality = speed_table(view), quality_table(view)
    assert [row.cells[0].text for row in speed.rows] == ["lora", "top-3"]
    assert column(speed, "Training") == ["48.0", "1.3"]
    assert column(speed, "Per iteration") == ["0.518", ""]
    assert column(speed, "Predicting") == ["22.7", "5,000"]
    assert column(quality, "Peak train") == ["2.75", "0.51", "–"]
    record["baselines"][0]["train_seconds"] = 0.0002
    assert column(speed_table(view_of(record)), "Training") == ["48.0", "<0.1"]


def test_a_baseline_that_failed_says_why() -> None:
    record = study([run("lora")])
    record["baselines"] = [{"name": "tfidf", "scores": {}, "note": None, "status": "failed", "reason": "no word"}]
    assert any("tfidf: failed: no word." in note for note in quality_table(view_of(record)).footnotes)


def test_a_study_of_the_version_before_still_renders() -> None:
    """Written without "metrics", and without seconds or bytes of baselines."""
    record = json.loads(DEMO.read_text(encoding="utf-8"))
    assert "metrics" not in record
    view = view_of(record)
    assert [m.name for m in view.metrics] == ["micro_f1", "macro_f1"]
    speed, quality = all_tables(record)[:2]
    assert all(row.kind == "run" for row in speed.rows)
    expected = [f"{r['scores']['test']['micro_f1']:.3f}" for r in record["runs"] if r["status"] == "ok"]
    assert [text for text in column(quality, "Test micro-F1") if text != "–"][: len(expected)] == expected
    assert {row.cells[0].text for row in quality.rows if row.kind == "baseline"} == {
        b["name"] for b in record["baselines"]
    }
