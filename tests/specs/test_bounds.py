"""Every number that an option takes has bounds, and a value outside of them is one sentence before anything runs."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any

import pytest

from semtune.errors import OptionError
from semtune.records import CommonReadoutOptions, RunSpec, TaskOptions, option
from semtune.registry import METHODS, PROMPTS, READOUTS, STRATEGIES
from semtune.specs import record_from, resolve, spec_from
from semtune.specs.settings import METHOD, PROMPT, READOUT, STRATEGY, option_fields

ABSURD = (-3, -1e300, math.nan, math.inf, -math.inf, 10**400)


def declared() -> list[tuple[str, type[Any], dataclasses.Field[Any]]]:
    """Every numeric option: whose it is, its record, its field."""
    records: list[tuple[str, type[Any]]] = [("run", RunSpec), ("task", TaskOptions), ("readout", CommonReadoutOptions)]
    for part, names in ((METHOD, METHODS), (READOUT, READOUTS), (PROMPT, PROMPTS), (STRATEGY, STRATEGIES)):
        records += [(f"{part.name} {name}", part.settings_class(name)) for name in names]
    found = []
    for owner, record in records:
        hints = typing.get_type_hints(record)
        fields = dataclasses.fields(record) if record in (RunSpec, TaskOptions) else option_fields(record)
        for field in fields:
            kinds = set(typing.get_args(hints[field.name])) | {hints[field.name]}
            if kinds & {int, float}:
                found.append((owner, record, field))
    return found


NUMBERS = declared()
IDS = [f"{owner}-{field.name}" for owner, _, field in NUMBERS]


@pytest.mark.parametrize(("owner", "record", "field"), NUMBERS, ids=IDS)
def test_every_number_has_bounds_and_absurd_ones_are_outside(
    owner: str, record: type[Any], field: dataclasses.Field[Any]
) -> None:
    run = RunSpec("practice")
    needed = {f.name: getattr(run, f.name) for f in dataclasses.fields(record) if hasattr(run, f.name)}
    whole = "int" in str(field.type)
    for value in ABSURD:
        if whole and isinstance(value, float):
            continue  # refused as the wrong type already
        if not whole and value == 10**400:
            continue
        with pytest.raises(OptionError) as caught:
            record_from(record, {**needed, field.name: value}, "the test")
        message = str(caught.value)
        shown = (field.name, "--" + field.name.replace("_", "-"), "--offload-gb")
        assert any(name in message for name in shown), message
        assert len(message) < 200 and "\n" not in message
    bounds = field.metadata["bounds"]
    assert not whole or (bounds.at_least is not None and (bounds.at_most or bounds.below)), "a count ends somewhere"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank": -3}, r"^--rank must be at least 1 and at most [\d,]+, not -3\.$"),
        ({"rank": 0}, "--rank"),
        ({"alpha": 0.0}, r"^--alpha must be above 0, not 0\.0\.$"),
        ({"alpha": math.nan}, "--alpha must be above 0, not nan"),
        ({"dropout": 1.0}, r"--dropout must be at least 0 and below 1, not 1\.0"),
        ({"method_options": {"rank": "-3"}}, "--rank must be"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"weight_decay": math.nan}, "--weight-decay"),
        ({"max_grad_norm": math.inf}, "--max-grad-norm"),
        ({"max_length": 10**12}, "--max-length must be at least 8 and at most"),
        ({"epochs": 10**30}, "--epochs .* not a number of that size"),
        ({"offload_bytes": -2_000_000_000}, "--offload-gb must be at least 0 and .* not -2"),
        ({"task_options": {"dev_fraction": math.nan}}, "--dev-fraction"),
        ({"task_options": {"split_seed": -1}}, "--split-seed"),
        ({"threads": 100_000}, "--threads"),
        ({"readout": "generate", "max_new_tokens": -5}, "--max-new-tokens"),
        (
            {"approach": "prompted", "strategy": "zero-shot", "strategy_options": {"prompt_tokens": -1}},
            r'strategy zero-shot: "prompt_tokens" must be',
        ),
    ],
)
def test_the_sentence_names_the_option_and_its_bounds(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        resolve(spec_from({"task": "practice", **changes}, "the test"))


def test_options_of_other_people_are_checked_too() -> None:
    @dataclass(frozen=True)
    class Settings:
        heads: int = option(4, at_least=1, at_most=8, unit="heads", help="How many.")
        slope: float = option(1.0, help="Any number.")

    assert record_from(Settings, {"heads": 8, "slope": -2.5}, "it") == Settings(8, -2.5)
    with pytest.raises(OptionError, match=r'^it: "heads" must be at least 1 and at most 8 heads, not 9\.$'):
        record_from(Settings, {"heads": 9}, "it")
    with pytest.raises(OptionError, match=r'"slope" must be a finite number, not nan'):
        record_from(Settings, {"slope": math.nan}, "it")


@pytest.mark.parametrize("threads", [65, 1024])
def test_more_threads_than_the_machine_could_use_are_refused(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a stack, and OpenMP ends the process where one cannot be made."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(OptionError, match=r"--threads must be at most 64 on this machine \(2 cores\)"):
        resolve(spec_from({"task": "practice", "threads": threads}, "the test"))
    monkeypatch.setattr("os.cpu_count", lambda: 256)
    assert resolve(spec_from({"task": "practice", "threads": threads}, "the test")).threads == threads
