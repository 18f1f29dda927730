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


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_beside_the_file_of_its_split_is_named(tmp_path: Path, split: str) -> None:
    for name in ("train", "test"):
        save(tmp_path / f"{name}.csv", joined([HEADER, *[(f"{name} {text}", label) for text, label in ROWS]], ","))
    assert "left out" not in notes(tmp_path)
    (tmp_path / split).mkdir()
    save(tmp_path / split / "part1.csv", joined([HEADER, ("more soup", "good")], ","))
    assert f"left out {split}/, whose names are those of splits" in notes(tmp_path)


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


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("train-00000-of-00002.csv", "train-00001-of-00002.csv"),
        ("train-00001-of-00002.csv", "train-00000-of-00002.csv"),
        ("train-00000-of-00002-a09b74b3ef9c3b56.csv", "train-00001-of-00002"),
        ("TRAIN_0_of_2.csv", "TRAIN_1_of_2.csv"),
        ("train_1_of_2.csv", "train_2_of_2.csv"),
        ("train 2 of 2.csv", "train 1 of 2.csv"),
        ("train1of3.csv", "train2of3.csv, train3of3.csv"),
        ("train-00000-of-00010.csv", "train-00001-of-00010.csv to train-00009-of-00010.csv (9 shards)"),
    ],
)
def test_one_shard_is_not_the_whole_split(tmp_path: Path, name: str, missing: str) -> None:
    save(tmp_path / name, joined([HEADER, *ROWS], ","))
    save(tmp_path / "test-00000-of-00001.csv", joined([HEADER, *ROWS[:3]], ","))
    assert f"without {missing}" in refused(tmp_path)
    assert f"without {missing}" in refused(tmp_path / name), "the file alone"
    save(tmp_path / "own.csv", joined([HEADER, *ROWS], ","))
    assert f"without {missing}" in refused(tmp_path / "own.csv", test_data=str(tmp_path / name))
    assert f"without {missing}" in refused(tmp_path / "own.csv", dev_data=str(tmp_path / name))


def test_missing_shards_are_named_before_there_are_several_files(tmp_path: Path) -> None:
    for n in (0, 2):
        save(tmp_path / f"train-0000{n}-of-00003.jsonl", '{"text": "soup", "label": "good"}')
    assert "without train-00001-of-00003.jsonl its rows" in refused(tmp_path)
    save(tmp_path / "train-00001-of-00003.jsonl", '{"text": "soup", "label": "good"}')
    assert "several files for the train split" in refused(tmp_path) and "join them" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("train-00000-of-00001.csv", False), ("train_1_of_1.csv", False), ("top_10_of_2020.csv", False),
        ("9-of-5.csv", False), ("proof-2.csv", False), ("survey_wave_1_of_3.csv", True),
    ],
)  # fmt: skip
def test_a_whole_split_is_no_shard(tmp_path: Path, name: str, noted: bool) -> None:
    file = save(tmp_path / name, joined([HEADER, *ROWS], ","))
    assert len(pairs(file)) == len(ROWS)
    assert ("its rows are a part of the split only" in notes(file)) == noted
