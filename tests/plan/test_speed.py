"""Seconds from cost and rates; a short look at this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from semtune.plan import requests, speed
from semtune.plan.cost import Cost
from semtune.plan.speed import Rates

RATES = Rates(((1e6, 1e9), (1e8, 3e9)), ((1e6, 2e9), (1e8, 6e9)), 1e8, 1e9, 2.5e8, 5e8, 1e-6)


def test_seconds_are_the_sum_of_what_is_done() -> None:
    cost = Cost(((1e6, 10.0), (1e8, 2.0)), loop_flops=1e8, moved_bytes=2e9, unpacked_bytes=1e9, operations=1000.0)
    assert RATES.seconds(cost, prepacked=False) == pytest.approx(10 * 1e-3 + 2 / 30 + 1 + 2 + 2 + 1e-3)
    assert RATES.seconds(cost, prepacked=True) == pytest.approx(10 * 5e-4 + 2 / 60 + 1 + 2 + 2 + 1e-3)


def test_what_comes_from_main_memory_takes_longer() -> None:
    cost = Cost((), loop_flops=0, moved_bytes=1e9, unpacked_bytes=0, operations=0)
    assert RATES.seconds(cost, prepacked=False) == pytest.approx(1)
    assert RATES.seconds(cost.plus(cost.cold()), prepacked=False) == pytest.approx(1 + 4)


def test_rates_between_two_sizes_and_beyond() -> None:
    middle = Cost(((1e7, 1.0),), 0, 0, 0, 0)
    assert RATES.seconds(middle, prepacked=False) == pytest.approx(1e7 / 2e9)
    tiny, huge = Cost(((1.0, 1.0),), 0, 0, 0, 0), Cost(((1e12, 1.0),), 0, 0, 0, 0)
    assert RATES.seconds(tiny, prepacked=False) == pytest.approx(1e-9)
    assert RATES.seconds(huge, prepacked=False) == pytest.approx(1e12 / 3e9)


def test_a_machine_is_measured_and_remembered(tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "rates.json"
    rates = speed.measure(0.05)
    assert all(rate > 0 for _, rate in (*rates.plain, *rates.packed))
    assert (
        min(
            rates.loop_flops_per_second,
            rates.elementwise_bytes_per_second,
            rates.cold_bytes_per_second,
            rates.unpacked_bytes_per_second,
            rates.operation_seconds,
        )
        > 0
    )
    speed.write_rates(rates, file)
    assert speed.read_rates(file, 60.0) == rates
    os.utime(file, (0, 0))
    assert speed.read_rates(file, 60.0) is None


@pytest.mark.parametrize("broken", ["", "{}", "[]", '{"plain": 3}'])
def test_a_broken_file_is_none(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "rates.json"
    file.write_text(broken, encoding="utf-8")
    assert speed.read_rates(file, 60.0) is None


@pytest.mark.parametrize(("load", "times"), [(0.0, [1, 2]), (1e3, [1, 2, 1])], ids=["quiet", "busy"])
def test_rates_are_of_a_number_of_threads_on_a_quiet_machine(
    load: float, times: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_busy_looks", {})
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load), raising=False)
    measured: list[int] = []
    real = speed.measure(0.05)

    def measure(_: float) -> speed.Rates:
        measured.append(torch.get_num_threads())
        return real

    monkeypatch.setattr(speed, "measure", measure)
    before = torch.get_num_threads()
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            requests._measured(False)
        monkeypatch.setattr(requests, "BUSY_MAX_AGE_SECONDS", 0.0)
        torch.set_num_threads(1)
        requests._measured(False)
    finally:
        torch.set_num_threads(before)
    assert measured == times
    assert len(list(tmp_path.iterdir())) == (2 if load == 0 else 0)
