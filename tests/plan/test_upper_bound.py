"""The bound below which a run needs no plan: above what plans say, and counted in tokens where bytes are too many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from semtune.plan import requests, upper_bound
from semtune.plan.devices import Device
from semtune.plan.upper_bound import upper_bound_fits
from semtune.records import Example, LabelSet, RunSpec, TargetSpace
from semtune.specs import resolve, spec_from

SPACE = TargetSpace("label_set", ("anger", "joy"))
WORDS = "the children of the neighbours remember "
"""Words that are one token each for any tokenizer of English."""


def texts(repeats: int) -> requests.Data:
    train = [Example(str(i), WORDS * repeats + str(i), LabelSet(("joy",))) for i in range(32)]
    return requests.Data(SPACE, train, train[:8])


def spec_of(model: str, **options: object) -> RunSpec:
    return resolve(spec_from({"task": "practice", "model": model, "precision": "fp32", **options}, "the test"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this machine have so many bytes."""

    def have(memory_bytes: int) -> None:
        monkeypatch.setattr(requests, "local_device", lambda *_: Device("this machine", "cpu", memory_bytes))

    return have


def smallest_machine(spec: RunSpec, data: requests.Data, machine: Callable[[int], None]) -> int:
    """Bytes of the smallest machine on which a run is not planned first, to 3%."""
    low, high = 28.0, 40.0
    while high - low > 0.04:
        middle = (low + high) / 2
        machine(round(2**middle))
        low, high = (low, middle) if upper_bound_fits(spec, data) else (middle, high)
    return round(2**high)


def test_only_what_surely_fits_is_not_planned_first(tiny_model: Path, machine: Callable[[int], None]) -> None:
    spec = spec_of(str(tiny_model))
    machine(64 << 30)
    assert upper_bound_fits(spec, texts(4))
    machine(1 << 30)
    assert not upper_bound_fits(spec, texts(4))


def test_a_model_whose_parameters_alone_are_too_many_is_planned(machine: Callable[[int], None]) -> None:
    """A billion parameters at 20 bytes are half of 40 GB."""
    machine(40 << 30)
    assert not upper_bound_fits(spec_of("shape:llama-3.2-1b", method="full"), requests.Data())


@pytest.mark.parametrize("readout", ["head", "generate"])
def test_the_bound_is_above_the_plan_of_full_tuning(readout: str, machine: Callable[[int], None]) -> None:
    spec = spec_of("shape:smollm2-135m", method="full", readout=readout, max_length=64)
    data = texts(8)
    bound = smallest_machine(spec, data, machine) / 2
    _, plan = requests.plan_run(spec, data, 0)
    assert max(plan.peak_bytes.values()) < bound


def test_tokens_are_counted_where_bytes_are_too_many(
    tiny_model: Path, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of few tokens: the machine that holds their tokens need not hold a token for each byte."""
    data, spec = texts(40), spec_of("default", method="full", max_length=2048, predict_batch_size=1)
    needed = smallest_machine(spec, data, machine)
    monkeypatch.setattr(upper_bound, "_token_counts", lambda spec, config, texts: [1 << 20] * len(texts))
    of_bytes = smallest_machine(spec, data, machine)
    assert needed < 0.6 * of_bytes


def test_a_text_that_is_cut_counts_as_it_is_cut(tiny_model: Path, machine: Callable[[int], None]) -> None:
    spec = spec_of(str(tiny_model), max_length=32)
    assert smallest_machine(spec, texts(400), machine) == smallest_machine(spec, texts(4000), machine)


def test_a_larger_step_or_more_texts_to_predict_at_once_raise_the_bound(
    tiny_model: Path, machine: Callable[[int], None]
) -> None:
    spec, data = spec_of("shape:smollm2-135m", batch_size=4), texts(8)
    usual = smallest_machine(spec, data, machine)
    assert smallest_machine(dataclasses.replace(spec, batch_size=16), data, machine) > usual
    assert smallest_machine(dataclasses.replace(spec, predict_batch_size=4096), data, machine) > usual
