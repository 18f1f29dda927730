"""Values that YAML reads as nothing although something is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import OptionError
from semtune.specs import read_yaml


def read(folder: Path, text: str) -> dict[str, object]:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return read_yaml(file)


@pytest.mark.parametrize(
    ("text", "line", "written"),
    [
        ("task: table\nlabel_separator: #\n", 2, "#"),
        ("label_separator: # # between labels\n", 1, "#"),
        ("label_separator:    ##\n", 1, "##"),
        ("label_column: #mood\ntask: table\n", 1, "#mood"),
        ("label_separator: ~\n", 1, "~"),
        ("labels:\n  - a\n  - ~\n", 3, "~"),
        ("labels:\n  - #a\n  - b\n", 2, "#a"),
        ("labels: [a, ~]\n", 1, "~"),
        ("task_options:\n  label_separator: #", 2, "#"),
    ],
)
def test_marks_that_yaml_reads_as_nothing_are_refused(tmp_path: Path, text: str, line: int, written: str) -> None:
    with pytest.raises(OptionError, match=f'reads "?{written}"? in line {line} as no value.*put it in quotes.*null'):
        read(tmp_path, text)


@pytest.mark.parametrize("value", ["null", "", " # what separates labels", "null # none", "null  #"])
def test_what_is_meant_as_nothing_stays_nothing(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, f"seed: 1\nlabel_separator: {value}\nepochs: 2\n")["label_separator"] is None


def test_comments_beside_values_and_mappings_stay_comments(tmp_path: Path) -> None:
    text = 'a: "#"\nb: 3 #three\nc: #!below\n  d: "~"\ne: a#b\n'
    assert read(tmp_path, text) == {"a": "#", "b": 3, "c": {"d": "~"}, "e": "a#b"}
