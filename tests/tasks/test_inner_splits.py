"""Splits that are named inside cells, which no option reads, are noted before rows are split anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .tables import LABELS, notes, save

SAID = "if that is the split which a row belongs to, put that into a column of its own"


def _split(i: int) -> str:
    return "train" if i < 40 else "test"


def _lines(folder: Path, more: Any) -> Path:
    rows = [{"text": f"the harbour felt warm number {i}", "label": LABELS[i % 3], **more(i)} for i in range(60)]
    return save(folder / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (lambda i: {"meta": {"split": _split(i)}}, '"split" inside the objects of its column "meta", which'),
        (lambda i: {"meta": {"info": {"set": _split(i), "n": i}}}, '"info.set" inside the objects of'),
        (lambda i: {"meta": {"is_test": i > 39}}, '"is_test" inside the objects of its column "meta" (true and false)'),
        (lambda i: {"meta": [{"split": _split(i)}]}, '"split" inside the objects of'),
        (lambda i: {"meta": {"tags": [_split(i), "x"]}}, '"tags" inside the objects of its column "meta"'),
        (lambda i: {"meta": json.dumps({"split": _split(i), "n": i})}, '"split" inside the objects of'),
        (lambda i: {"meta": str({"split": _split(i), "n": i})}, '"split" inside the objects of'),
        (lambda i: {"tags": [_split(i), "x"]}, 'has a column "tags" of lists, which says train and test'),
        (lambda i: {"tags": str([_split(i), f"x{i}"])}, 'has a column "tags" of lists, which says train and test'),
        (lambda i: {"id": f"{_split(i)}-{i}"}, '"id" has the name of a split in it (train-0, test-40)'),
        (lambda i: {"path": f"data/{_split(i)}/{i}.txt"}, "(data/train/0.txt, data/test/40.txt)"),
    ],
)  # fmt: skip
def test_a_split_inside_cells_is_noted(tmp_path: Path, more: Any, said: str) -> None:
    found = notes(_lines(tmp_path, more))
    assert said in found and found.count(SAID) == 1


def test_ids_that_are_named_are_looked_at_too(tmp_path: Path) -> None:
    file = _lines(tmp_path, lambda i: {"key": f"{_split(i)}_{i}"})
    assert '"key" has the name of a split in it (train_0, test_40)' in notes(file, id_column="key")


@pytest.mark.parametrize(
    "more",
    [
        lambda i: {"meta": {"author": "train" if i % 2 else "bus"}},
        lambda i: {"meta": {"n": i, "vector": [0.5] * 30}},
        lambda i: {"tags": ["train", "test"]},
        lambda i: {"tags": ["train"] if i < 3 else ["test"] if i < 5 else ["bus"]},
        lambda i: {"id": f"train-{i}"},
        lambda i: {"id": f"{_split(i)}-{i}" if i else "0"},
        lambda i: {"other": f"the {_split(i)} is late {i}"},
        lambda i: {"meta": {}, "list": [], "none": None},
    ],
)
def test_other_cells_are_none(tmp_path: Path, more: Any) -> None:
    assert SAID not in notes(_lines(tmp_path, more))


def test_no_note_where_the_splits_are_given(tmp_path: Path) -> None:
    file = _lines(tmp_path, lambda i: {"id": f"{_split(i)}-{i}", "usage": _split(i)})
    assert SAID not in notes(file, split_column="usage")
