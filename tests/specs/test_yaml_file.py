"""What YAML reads without a word, and a spec must not: repeated keys, and yes or true where a number stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError, SemtuneError, UnknownNameError
from semtune.specs import read_spec, read_yaml, spec_from
from semtune.specs.yaml_file import write_yaml
from semtune.study.grid import overridden, study_from


def saved(folder: Path, text: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", ["epochs: 3\nepochs: 1\n", "task_options:\n  data: a\n  data: b\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    file = saved(tmp_path, text)
    with pytest.raises(OptionError, match=r'study\.yaml.*"(epochs|data)" stands twice, again in line [23]; keep one'):
        read_yaml(file)


def test_merged_mappings_still_read(tmp_path: Path) -> None:
    file = saved(tmp_path, "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  x: 3\n")
    assert read_yaml(file)["c"] == {"x": 3}


@pytest.mark.parametrize("values", [{"epochs": True}, {"batch_size": False}, {"max_grad_norm": True}])
def test_true_is_no_number(values: dict[str, bool]) -> None:
    with pytest.raises(OptionError, match=r"must be a number, not (True|False)"):
        spec_from({"task": "practice", "method": "lora", **values}, "the spec")
    with pytest.raises(OptionError, match=r"must be a number, not (True|False)"):
        study_from({"task": "practice", "methods": ["lora"], **values}, "the study").runs()


def test_an_option_of_the_task_at_the_top_level_is_sent_to_its_place() -> None:
    with pytest.raises(UnknownNameError, match=r'"data" at its top level; write it under task_options'):
        study_from({"task": "table", "methods": ["lora"], "data": "a.csv"}, "the study")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nmax_length: 1:30\n", r"reads 1:30 in line 2 as 90; .*; quote it if it is a text"),
        ("rank: 010\n", r"reads 010 in line 1 as 8; "),
        ("overrides: {lora: {rank: -0_17}}\n", r"reads -0_17 in line 1 as -15; "),
        ("alpha: 1:30.5\n", r"reads 1:30\.5 in line 1 as 90\.5; "),
        ("task_options:\n  labels: [007, a]\n", r"reads 007 in line 2 as 7; "),
    ],
)
def test_a_number_that_yaml_reads_as_another_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = saved(tmp_path, text)
    with pytest.raises(OptionError, match=rf"study\.yaml: YAML {says}"):
        read_yaml(file)


def test_other_numbers_and_quoted_ones_still_read(tmp_path: Path) -> None:
    file = saved(tmp_path, 'a: [0, -12, 1_000, 0x10, 0b11, 0.5, 1e-3, .inf, "010", "1:30"]\n')
    assert read_yaml(file)["a"] == [0, -12, 1000, 16, 3, 0.5, 0.001, float("inf"), "010", "1:30"]


NO_MAPPINGS = [
    ({"task_options": "base.csv"}, 'such as task_options: {data: reviews.csv}, not "base.csv"'),
    ({"task_options": [{"data": "a.csv"}]}, "such as task_options: {data: reviews.csv}, not a list"),
    ({"method_options": ["rank", 8]}, "such as method_options: {rank: 8}, not a list"),
    ({"readout_options": 3}, "such as readout_options: {max_new_tokens: 20}, not 3"),
    ({"prompt_options": "a"}, 'such as prompt_options: {NAME: VALUE}, not "a"'),
]


@pytest.mark.parametrize(("values", "says"), NO_MAPPINGS)
def test_options_that_are_no_mapping_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as in_spec:
        spec_from({"task": "practice", "method": "lora", **values}, "it")
    study = {"task": "practice", "methods": ["lora"], **values}
    with pytest.raises(OptionError) as in_study:
        study_from(study, "it")
    with pytest.raises(OptionError) as in_changed_study:
        overridden(study, {"epochs": 1, "task_options": {"encoding": "utf-16"}}, "it")
    (name,) = values
    for refusal in (in_spec, in_study, in_changed_study):
        assert str(refusal.value) == f'it: "{name}" must be a mapping of names to values, {says}.'


@pytest.mark.parametrize("options", [{"method_options": 3}, {"method_options": 3, "master_weights": True}])
def test_options_of_overrides_that_are_no_mapping_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r'overrides of lora in it: "method_options" must be a mapping'):
        study_from({"task": "practice", "methods": ["lora"], "overrides": {"lora": options}}, "it")


def test_options_without_any_value_are_none() -> None:
    values = {"task": "practice", "method_options": None, "task_options": None}
    assert spec_from({**values, "method": "lora"}, "it").method_options == {}
    assert study_from(overridden({**values, "methods": ["lora"]}, {}, "it"), "it").runs()


def test_a_name_that_is_no_text_is_an_unknown_option() -> None:
    with pytest.raises(OptionError, match='has an option "8"'):
        study_from({"task": "practice", "methods": ["lora"], "method_options": {8: 1}}, "it").runs()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "label_separator: no",
            r'"label_separator" must be a text, not False \(.* no .*quotes, label_separator: "no"\.',
        ),
        ("text_column: yes", r'"text_column" must be a text, not True \(.* yes .*quotes, text_column: "yes"\.'),
        ("text_column: 3", r'"text_column" must be a text, not 3; put it in quotes, text_column: "3"\.'),
        ("text_column: 2001-01-01", r'.*; put it in quotes, text_column: "2001-01-01"\.'),
        ("text_column: [a]", r'"text_column" must be a text, not a list\.'),
        ("quoting: no", r'"quoting" must be a text, not False \(.*; write "auto", "csv", "backslash" or "none"\.'),
        ("labels: [good, no]", r'item 2 of "labels" must be a text, not False \(.*; put it in quotes, "no"\.'),
        ("labels: [yes, no]", r'item 1 of "labels" must be a text, not True \(.*; put it in quotes, "yes"\.'),
        ("labels: [1, 2]", r'item 1 of "labels" must be a text, not 1; put it in quotes, "1"\.'),
        ("labels: [a, null]", r'item 2 of "labels" must be a text, not None; put it in quotes, "null"\.'),
        ("labels: good,bad", r'"labels" must be a list, not "good,bad"; write labels: \[good, bad\]\.'),
        ("labels: yes", r"\"labels\" must be a list, not True; write labels: \['yes'\]\."),
        ("split_seed: off", r'"split_seed" must be a number, not False \(YAML reads no and off as false\)\.'),
    ],
)
def test_what_yaml_reads_as_no_text_is_to_be_quoted(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"task: table\ntask_options:\n  {line}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=rf"^task_options in .*spec\.yaml: {says}$"):
        read_spec(file)
    with pytest.raises(OptionError, match=rf"^task_options in it: {says}$"):
        study_from(read_yaml(file), "it")


def test_loss_on_yes_is_answered_with_its_choices() -> None:
    with pytest.raises(OptionError, match=r'^it: "loss_on" must be a text, not True .*; write "completion" or "all"\.'):
        spec_from({"task": "practice", "loss_on": True}, "it")


def test_lists_of_any_kind_are_still_accepted() -> None:
    for given in (["a", "b"], ("a", "b"), iter(["a", "b"])):
        spec = spec_from({"task": "table", "task_options": {"labels": given}}, "it")
        assert spec.task_options.labels == ("a", "b")


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_is_no_list(kind: type[Any]) -> None:
    said = '"labels" must be a list, not a set, which has no order; give a list'
    with pytest.raises(OptionError, match=said):
        spec_from({"task": "table", "task_options": {"labels": kind({"a", "b"})}}, "it")


@pytest.mark.parametrize("word", ["No", "YES", "Off"])
def test_a_word_that_yaml_reads_as_a_truth_keeps_its_capitals(tmp_path: Path, word: str) -> None:
    file = saved(tmp_path, f"task: table\nmethod: lora\ntask_options: {{data: a.csv, label_column: {word}}}\n")
    with pytest.raises(
        OptionError, match=r"must be a text, not (True|False) .*if it has capitals, keep them; put it in"
    ):
        read_spec(file)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-16", "it is in UTF-16; save it as UTF-8"), ("latin-1", "line 2 is not in UTF-8; save it")],
)
def test_another_encoding_says_what_to_do(encoding: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes("task: practice\nmodel: caf\xe9\n".encode(encoding))
    with pytest.raises(OptionError, match=rf"study\.yaml cannot be read as UTF-8 text: {said}"):
        read_yaml(tmp_path / "study.yaml")


def test_a_byte_order_mark_and_line_ends_of_windows_read(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes("task: practice\r\nmodel: caf\xe9\r\n".encode("utf-8-sig"))
    assert read_yaml(tmp_path / "study.yaml") == {"task": "practice", "model": "caf\xe9"}


def test_keys_that_hold_anchors_are_no_options(tmp_path: Path) -> None:
    """As in compose files: what begins with "x-" holds values that anchors refer to."""
    text = "x-small: &small {rank: 4}\ntask: practice\nmethods: [lora]\noverrides:\n  lora:\n    <<: *small\n"
    (run,) = study_from(read_yaml(saved(tmp_path, text)), "study.yaml").runs().values()
    assert run.method_options["rank"] == 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"baselines": False},
            r"called False; for no baselines write baselines: \[\] \(YAML reads no and off as false;",
        ),
        ({"strategies": True}, r"no strategy called True \(YAML reads yes and on as true\)"),
        ({"baselines": ["top-1", True]}, r"no baseline called True \(YAML reads yes and on as true\)"),
        ({"methods": [], "baselines": ["top-1"]}, '"methods" is empty; name at least one, or give strategies'),
        ({"models": []}, '"models" is empty; name at least one, or give endpoint_models'),
        ({"readouts": []}, '"readouts" is empty; name at least one\\.$'),
    ],
)
def test_lists_that_name_nothing(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SemtuneError, match=said):
        study_from({"task": "practice", "methods": ["lora"], **values}, "it")


@pytest.mark.parametrize(("written", "number"), [("1e-4", 1e-4), ("-2E5", -2e5), ("3e+2", 300.0), ("1.5e-4", 1.5e-4)])
def test_scientific_notation_is_a_number(written: str, number: float, tmp_path: Path) -> None:
    values = read_yaml(saved(tmp_path, f"a: {written}"))
    assert (values, type(values["a"])) == ({"a": number}, float)


@pytest.mark.parametrize("text", ["1e-4", "2E5", "=", "1e5x", "e5", "12", "yes", "~", "#", "0x1F", "1:30"])
def test_a_text_comes_back_as_the_text_it_was(text: str, tmp_path: Path) -> None:
    write_yaml({"labels": [text]}, tmp_path / "spec.yaml")
    assert read_yaml(tmp_path / "spec.yaml") == {"labels": [text]}


def test_a_separator_may_be_an_equals_sign(tmp_path: Path) -> None:
    assert read_yaml(saved(tmp_path, "label_separator: =")) == {"label_separator": "="}


def test_one_number_of_seeds_is_to_be_said_clearly() -> None:
    for count in (2, 3, 10):
        with pytest.raises(OptionError, match=rf"seeds: \[{count}\] for that seed alone"):
            study_from({"task": "practice", "seeds": count}, "the test")
    assert study_from({"task": "practice", "seeds": [3]}, "the test").seeds == (3,)
    assert study_from({"task": "practice", "seed": 3}, "the test").seeds == (3,)
    assert study_from({"task": "practice", "seeds": 1}, "the test").seeds == (1,)


def test_a_missing_file_of_a_relative_path_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=f"no file study.yaml in {tmp_path}; check"):
        read_yaml(Path("study.yaml"))
    with pytest.raises(OptionError, match=f"no file {tmp_path}/study.yaml; check"):
        read_yaml(tmp_path / "study.yaml")


@pytest.mark.parametrize("text", ["\x85x", "a\u2028b", "\u2029", "plain", " x", "1e-4", "two\nlines"])
def test_a_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    write_yaml({text: [text]}, tmp_path / "spec.yaml")
    assert read_yaml(tmp_path / "spec.yaml") == {text: [text]}
