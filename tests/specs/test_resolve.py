"""A RunSpec is checked and completed, or refused with one clear sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError, SemtuneError, UnknownNameError
from semtune.records import LowRankSettings, MethodSettings, RunSpec, TaskOptions
from semtune.registry import METHODS, READOUTS
from semtune.specs import (
    method_settings,
    read_spec,
    readout_settings,
    resolve,
    spec_from,
    with_changes,
    with_method,
    write_spec,
)
from semtune.specs.settings import METHOD, check_shared_options


def spec_of(**values: Any) -> RunSpec:
    return spec_from({"task": "practice", **values}, "the test")


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("preset", ["default", "report"])
def test_a_preset_fills_what_is_not_given_and_nothing_else(method: str, preset: str) -> None:
    expected = METHODS.get(method).presets[preset]
    assert method_settings(resolve(RunSpec("practice", method=method, preset=preset))) == expected
    given = {"learning_rate": 0.125, "readout": "head"} | ({"rank": 3} if isinstance(expected, LowRankSettings) else {})
    changed = resolve(spec_of(method=method, preset=preset, **given))
    del given["readout"]
    assert method_settings(changed) == dataclasses.replace(expected, **given)
    assert list(changed.method_options) == [field.name for field in dataclasses.fields(expected)]
    assert all(value is not None for value in changed.method_options.values())


def test_resolving_twice_changes_nothing() -> None:
    spec = resolve(spec_of(method="dora", targets="q_proj, v_proj"))
    assert spec.method_options["targets"] == ("q_proj", "v_proj")
    assert resolve(spec) == spec


def test_full_has_no_low_rank_options() -> None:
    assert set(resolve(spec_of(method="full")).method_options) == {f.name for f in dataclasses.fields(MethodSettings)}


def test_the_original_recipe() -> None:
    """Rank 8, alpha 32, dropout 0.05 on q and v; NF4 for QLoRA; full in pure bf16."""
    for method, precision in (("lora", "bf16"), ("qlora", "nf4")):
        s = METHODS.get(method).presets["report"]
        assert (s.rank, s.alpha, s.dropout, s.targets) == (8, 32.0, 0.05, ("q_proj", "v_proj"))
        assert s.precision == precision
    full = METHODS.get("full").presets["report"]
    assert (full.precision, full.master_weights) == ("bf16", False)


def test_a_readouts_settings_take_the_runs_values_and_its_own_options() -> None:
    settings = readout_settings(resolve(spec_of(readout="generate", max_length=99, seed=4, loss_on="all")))
    assert (settings.max_length, settings.seed, settings.train_on_prompt, settings.max_new_tokens) == (99, 4, True, 64)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "practise"}, 'did you mean "practice"'),
        ({"method": "qlra"}, 'did you mean "qlora"'),
        ({"approach": "tunde"}, 'did you mean "tuned"'),
        ({"preset": "defualt"}, 'did you mean "default"'),
        ({"readout": "heads"}, 'did you mean "head"'),
        ({"prompt": "raport"}, 'did you mean "report"'),
        ({"optimizer": "adagrad"}, 'no optimizer called "adagrad"'),
        ({"approach": "magic"}, 'no approach called "magic"'),
    ],
)
def test_unknown_names(changes: dict[str, str], says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        resolve(RunSpec(**({"task": "practice"} | changes)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"max_length": 3}, "--max-length"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": float("inf")}, "--learning-rate"),
        ({"warmup_fraction": 1.5}, "--warmup-fraction"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"patience": 0}, "--patience"),
        ({"seed": -1}, "--seed"),
        ({"threads": 0}, "--threads"),
        ({"offload_bytes": -1}, "--offload-gb"),
        ({"readout": "generate", "max_new_tokens": 0}, "--max-new-tokens"),
        ({"loss_on": "some"}, "loss_on"),
        ({"optimizer": 3}, "optimizer"),
        ({"optimizer": "lion", "optimizer_options": {"beta1": 1.0}}, "beta1"),
        ({"precision": "int3"}, "precision"),
        ({"rank": "many"}, 'the options of the method lora: "rank" must be a whole number'),
        ({"method_options": {"rank": 2.5}}, '"rank" cannot be 2.5'),
        ({"method_options": 8}, "method_options"),
    ],
)
def test_impossible_values(changes: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        resolve(spec_of(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "full", "rank": 8}, 'The method full has no option "rank"'),
        ({"method_options": {"rnak": 8}}, 'no option "rnak"; did you mean "rank"'),
        ({"readout": "generate", "readout_options": {"max_tokens": 8}}, 'did you mean "max_new_tokens"'),
        ({"prompt_options": {"tone": "kind"}}, 'The prompt report has no option "tone"; it has none'),
    ],
)
def test_options_that_are_not_there(changes: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        resolve(spec_of(**changes))


def test_changes_are_options_by_name_whoever_has_them() -> None:
    spec = resolve(spec_of(readout="generate"))
    changed = with_changes(spec, {"precision": "nf4", "batch_size": 2, "max_new_tokens": 5, "targets": ("q_proj",)})
    assert resolve(changed) == changed
    assert (changed.batch_size, changed.readout_options["max_new_tokens"]) == (2, 5)
    assert method_settings(changed) == dataclasses.replace(method_settings(spec), precision="nf4", targets=("q_proj",))
    with pytest.raises(OptionError, match="rank"):
        with_changes(resolve(spec_of(method="full")), {"rank": 4})
    with pytest.raises(UnknownNameError, match="batch_size"):
        with_changes(spec, {"batch_sise": 4})


def test_options_shared_by_methods_reach_those_that_have_them() -> None:
    spec = spec_of(rank=4, precision="fp32", task_options=TaskOptions())
    assert method_settings(with_method(spec, "dora", shared=True)).rank == 4
    assert with_method(spec, "full", shared=True).method_options == {"precision": "fp32"}
    check_shared_options(METHOD, ["rank", "precision"], ["full"])
    check_shared_options(METHOD, ["rank"], ["full", "lora"])
    with pytest.raises(OptionError, match='did you mean "rank"'):
        check_shared_options(METHOD, ["rnak"], ["full", "lora"])
    with pytest.raises(SemtuneError, match="rank"):
        resolve(with_method(spec, "full", shared=False))


@pytest.mark.parametrize(
    ("former", "present"), [("label-scores", "loglikelihood"), ("generate-trie", "generate-constrained")]
)
def test_former_names_of_readouts_become_the_present_ones(former: str, present: str, tmp_path: Path) -> None:
    """In a spec.yaml of the version before, and wherever a name is given; lists show the present names only."""
    assert resolve(RunSpec("practice", readout=former)).readout == present
    write_spec(RunSpec("practice", readout=former), tmp_path / "spec.yaml")
    assert read_spec(tmp_path / "spec.yaml").readout == present
    assert former in READOUTS and former not in list(READOUTS)
    assert READOUTS.get(former) is READOUTS.get(present) and READOUTS.canonical("other") == "other"
