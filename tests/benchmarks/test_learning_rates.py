"""The pure parts of `benchmarks/learning_rates.py` and its pool of workers, with planted failures."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks.rates import CHOOSE, OTHERS, RATES, STUDY, Job, Schedule, choose_jobs, chosen_rate

from benchmarks import learning_rates, rate_summary, worker_pool
from semtune.records import Metric
from semtune.registry import METHODS
from semtune.study.sweep_order import middle_first, pairs

METRIC = Metric("micro_f1", "micro-F1")
ONE_EACH = [(0, "1/3"), (1, "2/3"), (2, "3/3")]


def row(method: str, rate: float, pair: tuple[int, str], score: float | None) -> dict[str, Any]:
    """A row of the choice; without a score a failed one."""
    found = {"error": "planted"} if score is None else {"score": score}
    return {"section": CHOOSE, "method": method, "rate": rate, "seed": pair[0], "fold": pair[1], **found}


def test_the_grid_has_rising_rates_with_each_default_among_them_and_not_at_the_edge() -> None:
    assert set(RATES) == set(METHODS)
    for method, rates in {**RATES, "other": OTHERS}.items():
        assert len(rates) in (5, 6), method
        assert list(rates) == sorted(set(rates)), method
    for method in METHODS:
        assert rate_summary.default_rate(method) in RATES[method][1:-1], method


def test_pairs_change_seed_and_fold_at_once() -> None:
    assert pairs([0, 1, 2], 3, crossed=False) == ONE_EACH
    crossed = pairs([0, 1], 3, crossed=True)
    assert len(set(crossed)) == 6
    assert crossed[:2] == [(0, "1/3"), (1, "2/3")]


def test_every_beginning_of_the_choice_is_of_use() -> None:
    assert middle_first([1, 2, 3, 4, 5]) == [3, 2, 4, 1, 5]
    jobs = choose_jobs({"a": [1, 2, 3], "b": [7]}, ONE_EACH[:2])
    assert [(j.method, j.rate, j.seed) for j in jobs[:4]] == [("a", 2, 0), ("b", 7, 0), ("a", 1, 0), ("a", 3, 0)]
    assert [j.seed for j in jobs] == [0] * 4 + [1] * 4


def test_the_best_mean_over_common_pairs_is_chosen() -> None:
    rows = [row("a", 1.0, pair, score) for pair, score in zip(ONE_EACH, (0.2, 0.4, 0.9), strict=True)]
    rows += [row("a", 2.0, pair, score) for pair, score in zip(ONE_EACH[:2], (0.3, 0.4), strict=True)]
    assert chosen_rate(rows, "a") == 2.0  # of the first two pairs; the third would make the mean of 1.0 higher
    assert chosen_rate(rows, "a", rank=lambda score: -score) == 1.0
    assert chosen_rate([*rows, row("a", 2.0, ONE_EACH[2], None)], "a") == 1.0  # a rate that failed once is out
    assert chosen_rate(rows, "b") is None
    assert chosen_rate([row("a", r, ONE_EACH[0], 0.5) for r in (3.0, 1.0, 2.0)], "a") == 1.0


def test_the_study_of_a_method_waits_for_its_own_choice_alone() -> None:
    choose = choose_jobs({"a": [1.0], "b": [2.0]}, ONE_EACH[:1])
    schedule = Schedule(choose, ["a", "b"], [0], set(), lambda method: 5.0)
    first, second = schedule.next(), schedule.next()
    assert (first, second) == (choose[0], choose[1])
    assert schedule.next() is None
    schedule.ended(choose[1])
    assert schedule.next() == Job(STUDY, "b", 5.0, 0)
    assert schedule.next() is None
    schedule.ended(choose[0])
    assert schedule.next() == Job(STUDY, "a", 5.0, 0)
    assert schedule.next() is None


def test_what_is_done_is_not_done_again() -> None:
    choose = choose_jobs({"a": [1.0, 2.0]}, ONE_EACH[:1])
    done = {choose[0], Job(STUDY, "a", 1.0, 0)}
    schedule = Schedule(choose, ["a"], [0, 1], done, lambda method: 1.0)
    assert schedule.next() == choose[1]
    schedule.ended(choose[1])
    assert schedule.next() == Job(STUDY, "a", 1.0, 1)
    assert schedule.next() is None


def test_the_last_row_of_a_job_counts_and_a_cut_line_does_not(tmp_path: Path) -> None:
    lines = [json.dumps(row("a", 1.0, ONE_EACH[0], score)) for score in (None, 0.5)]
    (tmp_path / learning_rates.ROWS).write_text("\n".join([*lines, lines[1][:20]]))
    (found,) = learning_rates.read_rows(tmp_path)
    assert found["score"] == 0.5


def test_intervals_are_students() -> None:
    found = rate_summary.spread([1.0, 2.0, 3.0])
    assert found["mean"] == 2.0
    assert found["half_interval"] == pytest.approx(4.302652729911275 / 3**0.5)  # t(0.975, 2) from a printed table
    assert rate_summary.spread([1.0])["half_interval"] is None
    assert rate_summary.spread([])["mean"] is None


def test_tables_have_the_chosen_rate_its_study_and_every_failure() -> None:
    rows = [row("lora", 1e-3, pair, 0.5) for pair in ONE_EACH] + [row("lora", 1e-4, ONE_EACH[0], None)]
    figures = {"scores": {"test": {"micro_f1": 0.25}}, "peak_bytes": {"train": 2e9, "load": 1e9}, "train_seconds": 3.0}
    rows += [{"section": STUDY, "method": "lora", "rate": 1e-3, "seed": s, "fold": None, **figures} for s in (0, 1)]
    found = rate_summary.summary(rows, {"lora": (1e-4, 1e-3), "full": (1e-5,)}, METRIC)
    entry = found["methods"][0]
    assert (entry["chosen_rate"], entry["at_the_edge"], entry["default_rate"]) == (1e-3, True, 5e-4)
    assert entry["study"]["peak_bytes"] == 2e9
    assert entry["study"]["primary"] == {"n": 2, "mean": 0.25, "sd": 0.0, "half_interval": 0.0}
    assert found["methods"][1]["study"] is None
    text = rate_summary.tables(found)
    assert "* 0.001    0.5000 ± 0.0000 (3)" in text
    assert "0.2500 ± 0.0000" in text
    assert "choose lora 0.0001 seed 0 fold 1/3: planted" in text


def test_a_rate_is_compared_with_the_default_on_the_folds_of_both() -> None:
    rows = [row("lora", 5e-4, pair, score) for pair, score in zip(ONE_EACH, (0.5, 0.6, 0.7), strict=True)]
    rows += [row("lora", 1e-3, pair, score) for pair, score in zip(ONE_EACH[:2], (0.6, 0.5), strict=True)]
    rows += [row("lora", 1e-3, ONE_EACH[2], None)]
    found = rate_summary.over(rows, 1e-3, 5e-4, METRIC)
    assert found == {"mean": pytest.approx(0.0), "better": 1, "n": 2}
    assert rate_summary.over(rows, 2e-3, 5e-4, METRIC) is None
    entry = rate_summary.summary(rows, {"lora": (5e-4, 1e-3)}, METRIC)["methods"][0]
    assert [rate["over_default"] for rate in entry["rates"]] == [None, found]


def test_a_dead_worker_costs_its_own_job_alone() -> None:
    results: dict[str, dict[str, Any]] = {}
    jobs = iter(["one", "die", "unusable", "two"])
    worker_pool.run_all(1, planted, "setting", functools.partial(next, jobs, None), results.__setitem__)
    assert results["one"]["said"] == results["two"]["said"] == "setting"
    assert results["die"] == {"error": f"the worker process died (exit status {-signal.SIGKILL})"}
    assert len({results[name]["process"] for name in ("one", "unusable", "two")}) == 3


def planted(setting: str) -> Callable[[str], Mapping[str, Any]]:
    """What a worker does: says which it is, dies, or asks to be replaced."""

    def work(job: str) -> Mapping[str, Any]:
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        marks = {worker_pool.UNUSABLE: True} if job == "unusable" else {}
        return {"said": setting, "process": os.getpid(), **marks}

    return work
