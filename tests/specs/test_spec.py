"""A RunSpec and its `spec.yaml`, today's and those of earlier versions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from semtune.errors import OptionError, UnknownNameError
from semtune.records import RunSpec, TaskOptions
from semtune.specs import method_settings, read_spec, resolve, spec_from, write_spec

EARLIER = """\
task: table
model: default
method: {method}
prompt: report
readout: generate
preset: report
seed: 3
task_options:
  data_dir: null
  data: reviews.csv
  dev_data: null
  test_data: null
  text_column: comment
  label_column: mood
  id_column: null
  label_separator: null
  labels: [bad, good]
  encoding: utf-8
  split_seed: 0
  dev_fraction: 0.1
  test_fraction: 0.2
epochs: 2
batch_size: 4
accumulation_steps: 2
max_length: 256
warmup_fraction: 0.1
max_grad_norm: 1.0
patience: null
loss_on: all
optimizer: adamw
learning_rate: 0.0002
rank: 8
alpha: 32.0
dropout: 0.05
targets: [q_proj, v_proj]
precision: compute
master_weights: false
weight_decay: 0.0
predict_batch_size: 20
max_new_tokens: 12
threads: null
packed: false
recompute: true
stream_bytes: 1000000
device: auto
trust_remote_code: false
"""
"""What the first release wrote beside every run, with each of its keys."""


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    options = TaskOptions(data="données.csv", text_column="text: a", labels=("Appeal, to", "cliché", "no"))
    values = {"task": "table", "method": "dora", "task_options": options, "targets": ("q_proj",), "patience": 2}
    spec = resolve(spec_from(values, "the test"))
    write_spec(spec, tmp_path / "spec.yaml")
    assert read_spec(tmp_path / "spec.yaml") == spec


OPTIONS_SINCE = {
    "scaling": "standard", "start": "kaiming", "loftq_iterations": 1, "svd_iterations": 16, "eva_batches": 8,
    "lora_plus_ratio": 1.0, "freeze_a": False,
}  # fmt: skip


@pytest.mark.parametrize("method", ["full", "lora", "qlora", "dora"])
def test_a_spec_of_an_earlier_version_is_the_same_run(method: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(EARLIER.replace("{method}", method), encoding="utf-8")
    spec = read_spec(tmp_path / "spec.yaml")
    low_rank: dict[str, Any] = {"rank": 8, "alpha": 32.0, "dropout": 0.05, "targets": ("q_proj", "v_proj")}
    assert spec.method_options == {
        "learning_rate": 0.0002,
        "precision": "auto",
        "master_weights": False,
        "weight_decay": 0.0,
        **({} if method == "full" else low_rank),
    }
    assert spec.readout_options == {"train_on_prompt": True, "max_new_tokens": 12}
    assert (spec.prepack, spec.activation_checkpointing, spec.offload_bytes) == (False, True, 1_000_000)
    assert (spec.epochs, spec.batch_size, spec.accumulation_steps, spec.max_length, spec.seed) == (2, 4, 2, 256, 3)
    assert (spec.approach, spec.task_options.labels) == ("tuned", ("bad", "good"))
    # Options that have come since have the values that change nothing, so a finished run is kept.
    since = {} if method == "full" else OPTIONS_SINCE
    assert resolve(spec) == dataclasses.replace(spec, method_options={**spec.method_options, **since})
    write_spec(spec, tmp_path / "again.yaml")
    assert not {"rank", "loss_on", "packed", "recompute"} & set(yaml.safe_load((tmp_path / "again.yaml").read_text()))
    assert read_spec(tmp_path / "again.yaml") == spec


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("method: lora\nrank: 2\nmethod_options: {learning_rat: 0.5}", "learning_rat"),
        ("method: linear-probe\nrank: 64", "rank"),
        ("method: full\ndropout: 0.1", "dropout"),
        ("method: lora\nrank: 2\nreadout_options: {thresold: 0.9}", "thresold"),
        ("method: lora\nloss_on: all\nreadout: head", "loss_on"),
        ("method: lora\npacked: false\nmethod_options: {dropuot: 0.9}", "dropuot"),
        ("approach: baseline\nbaseline: tfidf\nrank: 8", "rank"),
    ],
)
def test_an_option_that_no_part_has_is_refused_beside_flat_keys_too(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"task: practice\n{text}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=wrong):
        resolve(read_spec(tmp_path / "spec.yaml"))


def test_what_an_earlier_spec_left_to_the_preset_still_is() -> None:
    spec = spec_from({"task": "practice", "rank": None, "targets": None, "loss_on": None}, "the test")
    assert (spec.method_options, spec.readout_options) == ({}, {})
    assert method_settings(spec).rank == 16


def test_flat_and_nested_options_are_joined() -> None:
    spec = spec_from({"task": "practice", "rank": 8, "method_options": {"rank": 8, "alpha": 1}}, "the test")
    assert spec.method_options == {"rank": 8, "alpha": 1}


def test_an_option_with_two_values_is_refused() -> None:
    with pytest.raises(OptionError, match='the test has "rank" as 4 and in "method_options" as 8; keep one of them'):
        spec_from({"task": "practice", "rank": 4, "method_options": {"rank": 8, "alpha": 1}}, "the test")


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"task": "practice", "rnak": 4}, UnknownNameError, 'did you mean "rank"'),
        ({"task": "practice", "activation_checkpoint": True}, UnknownNameError, "activation_checkpointing"),
        ({"task": "practice", "packed": True, "prepack": True}, OptionError, 'both'),
        ({"epochs": 2}, OptionError, 'lacks "task"'),
        ({"task": "practice", "task_options": {"colum": "a"}}, UnknownNameError, "unknown key"),
        ({"task": "practice", "readout_options": ["a"]}, OptionError, "readout_options"),
    ],
)  # fmt: skip
def test_mistakes(values: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        spec_from(values, "the test")


def test_every_field_says_what_it_is() -> None:
    import dataclasses

    for record in (RunSpec, TaskOptions):
        for field in dataclasses.fields(record):
            assert len(field.metadata["help"]) > 10, field.name
