"""A message about a value of a file names the file and the key; a text that is no number is never read as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError, UnknownNameError
from semtune.specs import read_spec, read_yaml, resolve, spec_from
from semtune.specs.naming import naming
from semtune.study.grid import overridden, study_from

BOUNDS = [
    ("epochs: 0", r': "epochs" must be at least 1 '),
    ("rank: -3", r'"rank" must be at least 1 and at most [\d,]+, not -3\.$'),
    (
        "offload_bytes: -2000000000",
        r': "offload_bytes" must be at least 0 and at most [\d,]+ bytes, not -2,000,000,000',
    ),
    ("threads: 1000", r': "threads" must be at most \d+ on this machine'),
    ("task_options: {dev_fraction: 2}", r': "dev_fraction" must be above 0 and below 1, not 2'),
    ("method_options: {rank: 0}", r': "rank" must be at least 1 '),
    ("readout: generate\nmax_new_tokens: 0", r': "max_new_tokens" must be at least 1 '),
]


@pytest.mark.parametrize(("lines", "says"), BOUNDS)
def test_bounds_of_a_spec_name_file_and_key(tmp_path: Path, lines: str, says: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"task: practice\nmethod: lora\n{lines}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=says) as caught, naming(str(file)):
        resolve(read_spec(file))
    assert str(file) in str(caught.value) and "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        *BOUNDS,
        ("seeds: [-1]", r': "seed" must be at least 0 '),
        ("parallel: 0", r': "parallel" must be at least 1 '),
        ("overrides: {lora: {rank: 0}}", r': "rank" must be at least 1 '),
    ],
)
def test_bounds_of_a_study_name_file_and_key(tmp_path: Path, lines: str, says: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"task: practice\nmethods: [lora]\n{lines}\n".replace("readout:", "readouts:"), encoding="utf-8")
    with pytest.raises(OptionError, match=says) as caught:
        study_from(read_yaml(file), str(file), from_file=True).runs()
    assert str(file) in str(caught.value) and "--" not in str(caught.value)


def test_bounds_of_the_command_line_name_the_flag(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^--epochs must be"):
        study_from(overridden({}, {"task": "practice", "epochs": 0}, "it"), "it").runs()


@pytest.mark.parametrize("seed", ["0-2", "0-2 ", "00-2", "1..3", "0,1,2", "'0-2'", "2001-01-01", "[0, 1, 2]"])
def test_several_seeds_of_one_run_are_refused(tmp_path: Path, seed: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"task: practice\nseed: {seed}\n", encoding="utf-8")
    with pytest.raises(
        OptionError, match=r'spec\.yaml: "seed" must be a whole number, not .* belong to a study file, '
    ):
        read_spec(file)


@pytest.mark.parametrize("key", ["epochs", "batch_size", "patience", "max_length"])
def test_no_count_is_read_from_a_text_that_is_none(key: str) -> None:
    for text in ("0-2", "02-3", "three", "", "1 2"):
        with pytest.raises(OptionError, match=f'"{key}" must be a whole number, not "{text}"'):
            spec_from({"task": "practice", key: text}, "it")
    assert getattr(spec_from({"task": "practice", key: "12"}, "it"), key) == 12


@pytest.mark.parametrize(("value", "number"), [("5e-4", 5e-4), (" .5 ", 0.5), ("1_0.0", 10.0), ("0.2", 0.2)])
def test_numbers_in_quotes_are_numbers(value: str, number: float) -> None:
    assert spec_from({"task": "practice", "max_grad_norm": value}, "it").max_grad_norm == number
    with pytest.raises(OptionError, match='"max_grad_norm" must be a number, not "0-2"'):
        spec_from({"task": "practice", "max_grad_norm": "0-2"}, "it")


def test_options_of_a_method_from_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match='"rank" must be a whole number, not "0-2"'):
        resolve(spec_from({"task": "practice", "method_options": {"rank": "0-2"}}, "it"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("seeds", [0, 1], 'has "seeds", which belongs to a study file; a run has one "seed"'),
        ("methods", ["lora"], 'has "methods", which belongs to a study file; a run has one "method"'),
    ],
)
def test_keys_of_a_study_in_the_spec_of_a_run(key: str, value: Any, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        spec_from({"task": "practice", key: value}, "it")


def test_several_methods_of_one_run() -> None:
    with pytest.raises(OptionError, match=r'"method" must be a text, not a list; a run has one, .* as methods: \['):
        spec_from({"task": "practice", "method": ["lora", "full"]}, "it")
