"""Where labels go, how losses are smoothed, and what is read of metrics.jsonl."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from semtune.report.curves import smooth
from semtune.report.figures import all_figures, trade_off
from semtune.report.metrics_file import read_curve
from semtune.report.placement import Box, Point, place
from semtune.report.style import Looks
from semtune.report.view import view_of

from .conftest import run, study

BOUNDS = Box(0, 0, 700, 400)


def test_labels_of_near_points_keep_clear_of_each_other() -> None:
    points = [Point(300 + 14 * i, 200 + 9 * (i % 3), 8, 90, 24) for i in range(6)]
    line = Box(0, 198, 700, 4)
    boxes = place(points, BOUNDS, [line])
    for i, box in enumerate(boxes):
        assert box.overlap(BOUNDS) == pytest.approx(box.width * box.height)
        assert box.overlap(line) == 0
        assert not any(box.overlap(other) for other in boxes[i + 1 :])
        assert not any(box.overlap(point.box()) for point in points)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 700), st.floats(0, 400)), max_size=8))
def test_a_label_that_fits_stays_within_bounds(at: list[tuple[float, float]]) -> None:
    boxes = place([Point(x, y, 5, 60, 20) for x, y in at], BOUNDS)
    assert len(boxes) == len(at)
    if len(at) == 1:
        assert boxes[0].overlap(BOUNDS) == pytest.approx(1200)


def test_smoothing_is_corrected_for_its_start() -> None:
    assert smooth([]) == []
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    first, second = smooth([1.0, 2.0], weight=0.5)
    assert (first, second) == pytest.approx((1.0, (0.25 * 1 + 0.5 * 2) / 0.75))


def test_curve_skips_lines_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"kind": "step", "step": 1, "loss": 2.5}\n'
        '{"kind": "step", "step": 2, "loss": NaN}\n'
        '{"kind": "epoch", "epoch": 1, "dev_micro_f1": 0.5}\n'
        "[1]\n"
        '{"kind": "step", "st',
        encoding="utf-8",
    )
    curve = read_curve(path)
    assert curve.losses == ((1, 2.5),)
    assert curve.dev == ((1, 0.5),)
    assert read_curve(tmp_path / "nothing.jsonl").losses == ()


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_bytes_give_a_curve(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    path.write_bytes(content)
    read_curve(path)


def test_figures_describe_themselves_in_words(tmp_path: Path) -> None:
    figures = {figure.key: figure for figure in all_figures(view_of(study([run(), run("dora", test=0.5)])), tmp_path)}
    assert "lora: 2.75 GB, micro-F1 0.600; dora: 2.75 GB, micro-F1 0.500" in (figures["tradeoff"].svg or "")
    assert "lora: 580 tokens/s" in (figures["speed"].svg or "")
    assert "lora: load 0.71 GB, train 2.75 GB, evaluate 1.77 GB" in (figures["memory"].svg or "")
    assert figures["course"].svg is None
    assert figures["course"].caption == "No run has a metrics.jsonl with steps in it."


def test_missing_phases_and_paces_do_not_break_figures(tmp_path: Path) -> None:
    runs = [run(peak_bytes={"train": 10**9}, seconds_per_iteration=None, runtime_bytes=None)]
    figures = all_figures(view_of(study(runs, baselines=[])), tmp_path)
    assert [figure.svg is not None for figure in figures] == [True, True, True, False]
    assert "area of a mark" not in figures[0].caption


def test_a_group_that_trains_nothing_stands_at_its_peak_while_predicting() -> None:
    bytes_of = {"load": 10**9, "train": 10**9, "evaluate": 3 * 10**9}
    asked = run("", approach="prompted", name="few-shot", readout="", preset="", trainable_parameters=0,
                peak_bytes=bytes_of)  # fmt: skip
    drawn = trade_off(view_of(study([run("lora"), asked])))
    assert drawn.svg is not None
    assert "few-shot: 3.00 GB" in drawn.svg and "predicting, where nothing is trained" in drawn.svg


def test_legends_name_what_is_drawn_alone() -> None:
    runs = [run("lora"), run("", approach="prompted", name="knn-vote", readout="", answer="", preset="")]
    view = view_of(study(runs))
    figure = Figure()
    Looks(view).full_legend(figure, view.groups[:1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lora"]
    figure = Figure()
    Looks(view).readout_legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["head"]
