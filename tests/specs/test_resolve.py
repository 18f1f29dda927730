"""What a user wrote becomes a RunSpec, or one clear sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from semtune.errors import OptionError, UnknownNameError
from semtune.records import RunSpec, TaskOptions
from semtune.registry import METHODS, READOUTS
from semtune.specs.resolve import PRESET_FIELDS, method_settings, read_spec, resolve, write_spec


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("preset", ["default", "report"])
def test_a_preset_fills_what_is_not_given_and_nothing_else(method: str, preset: str) -> None:
    expected = METHODS.get(method).presets[preset]
    assert method_settings(resolve(RunSpec("practice", method=method, preset=preset))) == expected
    changed = resolve(RunSpec("practice", method=method, preset=preset, learning_rate=0.125, rank=3))
    assert method_settings(changed) == dataclasses.replace(expected, learning_rate=0.125, rank=3)
    assert all(getattr(changed, name) is not None for name in PRESET_FIELDS)


def test_the_original_recipe() -> None:
    """Rank 8, alpha 32, dropout 0.05 on q and v; NF4 for QLoRA; full in pure bf16."""
    for method, precision in (("lora", "bf16"), ("qlora", "nf4")):
        s = METHODS.get(method).presets["report"]
        assert (s.rank, s.alpha, s.dropout, s.targets) == (8, 32.0, 0.05, ("q_proj", "v_proj"))
        assert s.precision == precision
    full = METHODS.get("full").presets["report"]
    assert (full.precision, full.master_weights) == ("bf16", False)


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    options = TaskOptions(data="données.csv", text_column="text: a", labels=("Appeal, to", "cliché", "no"))
    spec = resolve(RunSpec("table", method="dora", task_options=options, targets=("q_proj",), patience=2))
    write_spec(spec, tmp_path / "spec.yaml")
    assert read_spec(tmp_path / "spec.yaml") == spec


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "practise"}, 'did you mean "practice"'),
        ({"method": "qlra"}, 'did you mean "qlora"'),
        ({"preset": "defualt"}, 'did you mean "default"'),
        ({"readout": "heads"}, 'did you mean "head"'),
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
        ({"loss_on": "some"}, "loss_on"),
        ({"optimizer": "adagrad"}, "optimizer"),
        ({"precision": "int3"}, "precision"),
    ],
)
def test_impossible_values(changes: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        resolve(RunSpec("practice", **changes))


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
