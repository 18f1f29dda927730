"""A folder's files of splits, and a data set's splits: none is left out without a word."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save


@pytest.mark.parametrize(
    "name",
    [
        "test.xlsx",
        "test.zip",
        "validation.xls",
        "dev.feather",
        "TEST.XLSX",
        "test.conll",
        "test.rds",
        "val.svm",
        "test.data",
    ],
)
def test_a_split_in_a_format_that_cannot_be_read_is_not_made_of_train(tmp_path: Path, name: str) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    split = "test" if name.lower().startswith("test") else "dev"
    assert f"{name} would be the {split} split, but is in no format that can be read" in refused(tmp_path)
    assert "no format" in refused(tmp_path) and ("CSV (UTF-8)" in refused(tmp_path)) == (".xls" in name.lower())


@pytest.mark.parametrize("name", ["test.py", "train.log", "dev.md", "other.xlsx"])
def test_other_files_are_no_splits(tmp_path: Path, name: str) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    (tmp_path / name).write_bytes(b"x")
    assert len(pairs(tmp_path)) == len(ROWS)


@pytest.mark.parametrize("name", ["test", "valid.csv.bak", "test.csv.orig", "dev.new", "Validation/"])
def test_what_may_be_a_split_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"x")
    said = f"left out {name}, whose names are those of splits, but which are no tables"
    assert said in notes(tmp_path)
    own = "test_data" if name.startswith("test") else "dev_data"
    save(tmp_path / "own.csv", joined([HEADER, *ROWS[:2]], ","))
    assert said not in notes(tmp_path, **{own: str(tmp_path / "own.csv")}), "the split is given by an option"


@pytest.mark.parametrize("name", ["test.py", "test.ipynb", "dev.md", "train.log", "tests", ".test.csv.swp"])
def test_what_only_shares_the_name_is_not(tmp_path: Path, name: str) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    (tmp_path / name).write_bytes(b"x")
    assert "are those of splits" not in notes(tmp_path)


def test_a_split_in_a_folder_of_its_own_is_not_made_of_train(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    (tmp_path / "test").mkdir()
    save(tmp_path / "test" / "part1.jsonl", '{"text": "soup", "label": "good"}')
    assert "part1.jsonl would be of the test split, but a folder in --data is not read" in refused(tmp_path)
    assert "called test.jsonl beside the others" in refused(tmp_path)


@pytest.mark.parametrize("suffix", [".xlsx", ".xls", ".ods"])
def test_a_workbook_is_to_be_saved_as_csv(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"t{suffix}"
    file.write_bytes(b"PK\x03\x04")
    assert "save its sheet as CSV (UTF-8)" in refused(file)


class _Split(list[dict[str, Any]]):
    features: ClassVar[dict[str, Any]] = {"label": types.SimpleNamespace(names=["bad", "good"]), "text": None}


def test_splits_of_the_hub_that_are_left_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _Split({"text": t, "label": i % 2} for i, (t, _) in enumerate(ROWS))
    found = {"train": rows, "validation": _Split(rows[:3]), "unsupervised": rows, "val": rows}
    module = types.SimpleNamespace(load_dataset=lambda name: found)
    monkeypatch.setitem(sys.modules, "datasets", module)
    said = notes(Path("hub:owner/name"))
    assert 'hub:owner/name: left out "unsupervised", "val"' in said
    assert 'class numbers in column "label" were read as the names in the data set' in said
