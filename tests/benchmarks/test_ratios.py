"""Figures out of runs, with planted failures."""

from __future__ import annotations

import types
from typing import Any

import pytest
from benchmarks.contestants import common, ours
from benchmarks.ratios import Run, tokens_per_second
from benchmarks.targets import TARGETS, Target

from benchmarks import figures, ratios, schedule


def step(speed: float, **more: Any) -> dict[str, Any]:
    """What a training contestant prints, at `speed` tokens a second."""
    return {"tokens": [100, 300], "step_seconds": [100 / speed, 300 / speed], **more}


def rounds(contestant: str, *speeds: float | None) -> list[Run]:
    """A run a speed; None: it failed."""
    results = [{"error": "planted"} if s is None else step(s) for s in speeds]
    return [Run(contestant, r, result) for r, result in enumerate(results)]


def test_speed_is_of_all_tokens_over_all_seconds_not_a_mean_of_speeds() -> None:
    assert tokens_per_second({"tokens": [100, 300], "step_seconds": [1.0, 1.0]}) == 200


def test_a_ratio_is_formed_within_each_round_and_its_median_counts() -> None:
    runs = rounds("ours", 10, 40, 90) + rounds("peer", 5, 10, 90)  # medians of speeds would give 40 / 10
    figure = ratios.ratio("key", runs, "ours", "peer", tokens_per_second)
    assert figure.values == pytest.approx({0: 2.0, 1: 4.0, 2: 1.0})
    assert figure.value == pytest.approx(2.0)
    assert figure.spread == pytest.approx((1.0, 4.0))


def test_a_round_in_which_either_side_failed_does_not_count() -> None:
    runs = rounds("ours", 10, None, 30) + rounds("peer", 5, 5, None)
    assert ratios.ratio("key", runs, "ours", "peer", tokens_per_second).values == pytest.approx({0: 2.0})


def test_without_a_value_the_reason_names_who_failed_and_why() -> None:
    runs = rounds("ours", 10) + rounds("peer", None)
    figure = ratios.ratio("key", runs, "ours", "peer", tokens_per_second)
    assert figure.value is None
    assert figure.reason == "peer: planted"
    assert ratios.ratio("key", [], "ours", "peer", tokens_per_second).reason == "ours was not run; peer was not run"


def test_both_ran_but_never_in_the_same_round() -> None:
    runs = rounds("ours", 10, None) + rounds("peer", None, 5)
    reason = ratios.ratio("key", runs, "ours", "peer", tokens_per_second).reason
    assert reason == "no round in which both ours and peer ran"


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"tokens": [], "step_seconds": []},
        {"tokens": [1], "step_seconds": [0.0]},
        {"tokens": [0], "step_seconds": [1.0]},
        {"tokens": None, "step_seconds": [1.0]},
        {"tokens": [1], "step_seconds": [float("nan")]},
    ],
)
def test_a_result_that_makes_no_sense_is_no_value(result: dict[str, Any]) -> None:
    assert ratios.values([Run("ours", 0, result)], "ours", tokens_per_second) == {}


def test_the_fastest_peer_counts_and_one_that_failed_is_passed_over() -> None:
    runs = rounds("ours", 60, 60, 60) + rounds("slow", 5, 5, 5) + rounds("fast", 10, 20, 15) + rounds("broken", None)
    figure = ratios.lowest_ratio("key", runs, "ours", ["slow", "broken", "fast"], tokens_per_second)
    assert figure.against == "fast"
    assert figure.value == pytest.approx(4.0)


def test_a_class_whose_peers_all_failed_says_so() -> None:
    runs = rounds("ours", 60) + rounds("a", None) + rounds("b", None)
    figure = ratios.lowest_ratio("key", runs, "ours", ["a", "b"], tokens_per_second)
    assert figure.value is None
    assert figure.reason == "a: planted; b: planted"


def test_screening_keeps_the_fastest_and_drops_the_failed_and_the_much_slower() -> None:
    runs = rounds("a", 50) + rounds("b", 100) + rounds("c", None) + rounds("d", 95) + rounds("e", 99)
    kept = ratios.keep_fastest(runs, ["a", "b", "c", "d", "e"], tokens_per_second, count=2, share=0.8)
    assert kept == ["b", "e"]
    assert ratios.keep_fastest(runs, ["a", "b"], tokens_per_second, count=2, share=0.8) == ["b"]
    assert ratios.keep_fastest(runs, ["c"], tokens_per_second, count=2, share=0.8) == []


def test_one_slow_step_does_not_screen_a_peer_out() -> None:
    steady = {"tokens": [100] * 5, "step_seconds": [1.0] * 5}
    hiccup = {"tokens": [100] * 5, "step_seconds": [0.95, 0.95, 30.0, 0.95, 0.95]}
    runs = [Run("peft lora-bf16", 0, steady), Run("trl lora", 0, hiccup)]
    assert schedule.screen(runs, {"lora": ["peft lora-bf16", "trl lora"]})["lora"] == ["trl lora", "peft lora-bf16"]


def test_lines_are_found_again() -> None:
    line = ratios.line([64, 128, 8192], [0.1 + 0.001 * x for x in (64, 128, 8192)])
    assert line["slope"] == pytest.approx(0.001)
    assert line["intercept"] == pytest.approx(0.1)
    assert line["largest_relative_deviation"] == pytest.approx(0.0, abs=1e-9)


def test_a_target_says_by_how_much_it_was_missed() -> None:
    at_least, at_most = Target(5.0, True, floor=4.0), Target(0.6, False)
    assert at_least.verdict(5.0) == "met"
    assert at_least.verdict(4.5) == "missed by 10.0 %, floor held"
    assert at_least.verdict(3.9) == "missed by 22.0 %, floor missed"
    assert at_most.verdict(0.6) == "met"
    assert at_most.verdict(0.9) == "missed by 50.0 %"
    assert at_most.verdict(None) == "no value"


def test_dora_is_a_ratio_of_time_and_memory_is_above_the_runtime() -> None:
    lora = step(100, peak_bytes=700, runtime_bytes=400)
    runs = [
        Run("semtune lora", 0, lora),
        Run("semtune dora", 0, step(80)),
        Run("peft lora-bf16", 0, step(20, peak_bytes=1100, runtime_bytes=500)),
        Run("peft lora-fp32", 0, step(10, peak_bytes=9000, runtime_bytes=500)),
    ]
    found = {figure.key: figure for figure in figures.figures(runs, {})}
    assert found["dora_over_lora"].value == pytest.approx(1.25)
    assert found["peak_memory_ratio"].value == pytest.approx(0.5)
    assert found["peak_memory_ratio"].against == "peft lora-bf16"
    assert found["train_lora_ratio"].value == pytest.approx(5.0)


def test_the_memory_of_1b_counts_loading() -> None:
    sides = {"lora": (900, 1100), "qlora": (700, 500)}  # load peak, train peak
    runs = [
        Run(f"semtune {name}, 1B", 0, {"runtime_bytes": 100, "load_peak_bytes": load, "peak_bytes": train})
        for name, (load, train) in sides.items()
    ]
    found = {figure.key: figure for figure in figures.figures(runs, {})}
    assert found["qlora_memory_ratio_1b"].value == pytest.approx(0.6)


def test_every_figure_exists_and_has_a_reason_when_nothing_ran() -> None:
    found = {figure.key: figure for figure in figures.figures([], {})}
    assert set(TARGETS) <= set(found)
    assert all(figure.value is None and figure.reason for figure in found.values())
    assert figures.growth([]) is None
    assert set(figures.sameness([]).values()) == {None}


def test_answers_are_compared_one_by_one() -> None:
    runs = [
        Run("semtune predict", 0, {"answers": ["a", "b", "c"]}),
        Run("transformers generate", 0, {"answers": ["a", "b", "x"]}),
        Run("semtune predict, fp32", 0, {"answers": ["a"]}),
        Run("transformers generate, fp32", 0, {"answers": ["a", "b"]}),
        Run("semtune label scoring", 0, {"log_likelihoods": [[-1.0, -2.0], [-3.0, -2.0]]}),
        Run("label by label", 0, {"log_likelihoods": [[-1.0, -2.5], [-2.0, -3.0]]}),
    ]
    found = figures.sameness(runs)
    assert found["answers_bf16"] == {"texts": 3, "identical": 2}
    assert found["answers_fp32"] is None  # not the same texts
    assert found["label_scores_bf16"] == {"texts": 2, "largest_difference": 1.0, "same_best_label": 1}


def test_the_first_pass_counts_as_often_as_a_run_meets_new_sizes() -> None:
    result = {"tokens": [100, 100], "step_seconds": [1.0, 1.0], "first_seconds": [3.0, 0.9], "new_size_share": 0.25}
    assert ratios.tokens_per_second(result) == pytest.approx(200 / 2.5)  # a faster first pass gives nothing back
    del result["first_seconds"]
    assert ratios.tokens_per_second(result) == pytest.approx(100)
    epochs = [[[0, 1], [2, 3]], [[0, 2], [1, 3]]]
    assert common.new_size_share(epochs, max) == 0.75  # of 1, 3, 2, 3


def test_the_two_passes_are_matched_by_tokens() -> None:
    """Reference steps 0 and 1; then each pass with the largest batch, wherever the order has put it, left out."""
    settings = common.Settings(work="", variant="lora", threads=1, timed_steps=2)
    tokens = [300, 300, 900, 50, 70, 70, 900, 50]
    events = [types.SimpleNamespace(tokens=n) for n in tokens]
    assert ours.passes(events, settings) == ([3, 4], [7, 5])
