"""Data in memory become files that the `table` task reads as if the user had written them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from semtune.api.own_data import DataFolder, task_values
from semtune.errors import DataError, OptionError, UnknownNameError
from semtune.tasks.table import Table

from .conftest import MOODS, SETS, TEXTS


def table(data: Any, folder: Path, dev: Any = None, test: Any = None, **options: Any) -> Table:
    values = task_values(data, dev, test, options, DataFolder(folder))
    assert values["task"] == "table"
    return Table(values["task_options"])


def all_examples(task: Table) -> dict[str, tuple[str, ...] | None]:
    return {e.text: e.labels for split in ("train", "dev", "test") for e in task.load(split)}


FRAME = pd.DataFrame({"text": TEXTS, "label": MOODS, "when": pd.Timestamp("2026-01-01"), "n": range(len(TEXTS))})


@pytest.mark.parametrize(
    "data",
    [
        (TEXTS, MOODS),
        (tuple(TEXTS), np.array(MOODS)),
        (pd.Series(TEXTS), pd.Series(MOODS, dtype="category")),
        FRAME,
        {"train": FRAME},
    ],
    ids=["lists", "arrays", "series", "frame", "dict"],
)
def test_one_label_a_text(data: Any, tmp_path: Path) -> None:
    task = table(data, tmp_path)
    assert task.labels == ("bad", "good")
    assert all_examples(task) == {text: (mood,) for text, mood in zip(TEXTS, MOODS, strict=True)}
    assert len(task.load("dev")) >= 1


@pytest.mark.parametrize(
    "data",
    [
        (TEXTS, SETS),
        (TEXTS, [set(labels) for labels in SETS]),
        (TEXTS, [np.array(labels, dtype=object) for labels in SETS]),
        pd.DataFrame({"text": TEXTS, "labels": [tuple(labels) for labels in SETS]}),
    ],
    ids=["lists", "sets", "arrays", "frame"],
)
def test_several_labels_a_text(data: Any, tmp_path: Path) -> None:
    task = table(data, tmp_path)
    assert task.labels == ("cold", "kind", "warm")
    found = all_examples(task)
    assert all(set(found[text] or ()) == set(labels) for text, labels in zip(TEXTS, SETS, strict=True))


def test_columns_are_named_as_for_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"comment": TEXTS, "mood": ["a;b", "b", "", "a"] * 6, "key": range(100, 124)})
    options = {"text_column": "comment", "label_column": "mood", "id_column": "key", "label_separator": ";"}
    task = table(frame, tmp_path, **options)
    assert all_examples(task)[TEXTS[0]] == ("a", "b")
    assert {e.id for e in task.load("train")} <= {str(n) for n in range(100, 124)}


def test_splits_of_different_kinds_go_together(reviews: Path, tmp_path: Path) -> None:
    columns = {"text_column": "comment", "label_column": "mood"}
    dev = pd.DataFrame({"comment": TEXTS[:4], "mood": MOODS[:4]})
    task = table(reviews, tmp_path, dev=dev, test=["what a soup", "what a bread"], **columns)
    assert (len(task.load("train")), len(task.load("dev"))) == (40, 4)
    assert [(e.text, e.labels) for e in task.load("test")] == [("what a soup", None), ("what a bread", None)]


def test_a_split_with_a_fraction_of_zero_is_not_made(tmp_path: Path) -> None:
    task = table((TEXTS, MOODS), tmp_path, test_fraction=0.0, dev_fraction=0.25)
    assert (len(task.load("train")), len(task.load("dev")), len(task.load("test"))) == (18, 6, 0)


class FakeDataset:
    """A split as the datasets package has it: columns by name, and features with class names."""

    column_names = ("text", "label")
    features = {"text": SimpleNamespace(), "label": SimpleNamespace(names=["bad", "good"])}  # noqa: RUF012

    def __getitem__(self, name: str) -> list[Any]:
        return TEXTS if name == "text" else [["bad", "good"].index(mood) for mood in MOODS]


def test_datasets_with_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Dataset=FakeDataset))
    task = table({"train": FakeDataset(), "validation": FakeDataset(), "test": FakeDataset()}, tmp_path)
    assert task.labels == ("bad", "good")
    assert [e.labels for e in task.load("dev")] == [(mood,) for mood in MOODS]


def test_the_same_data_are_the_same_file(tmp_path: Path) -> None:
    first = task_values((TEXTS, MOODS), None, None, {}, DataFolder(tmp_path))
    assert task_values((TEXTS, MOODS), None, None, {}, DataFolder(tmp_path)) == first
    assert task_values((TEXTS, MOODS[::-1]), None, None, {}, DataFolder(tmp_path)) != first
    assert len(list((tmp_path / "data").iterdir())) == 2


@pytest.mark.parametrize(
    ("data", "more", "error", "said"),
    [
        ("practise", {}, UnknownNameError, 'neither a file nor a task; did you mean "practice"'),
        ("practice", {"dev": (TEXTS, MOODS)}, OptionError, "splits of its own"),
        ((TEXTS, MOODS[:3]), {}, DataError, "24 texts and 3 labels"),
        ((TEXTS, np.eye(24)), {}, DataError, "matrix"),
        ((TEXTS, [["a"], "b"] * 12), {"test": 7}, DataError, r"cannot read \(int\)"),
        (TEXTS, {}, DataError, r"cannot read \(list\)"),
        (([], []), {}, DataError, "The train split is empty"),
        ((["\ud800"], ["a"]), {}, DataError, "not valid Unicode"),
        (FRAME.rename(columns={"text": "texts"}), {}, DataError, r'no column "text" \(name it with text_column=\)'),
        (FRAME, {"label_column": "lable"}, DataError, 'did you mean "label"'),
        ({"dev": FRAME}, {}, DataError, "no train split"),
        ({"trian": FRAME}, {}, DataError, 'did you mean "train"'),
        ({"train": FRAME}, {"dev": FRAME}, OptionError, "leave out dev="),
        (FRAME, {"dev": FRAME, "dev_data": "x.csv"}, OptionError, "given already"),
        (([b"soup", "bread"], ["a", "b"]), {}, DataError, "Text 1 of the train split is no text but of the kind bytes"),
        ((["soup", 7], ["a", "b"]), {}, DataError, "Text 2 of the train split is no text but of the kind int"),
        (FRAME, {"text_column": "when"}, DataError, "no text but of the kind Timestamp"),
        ((["soup", "bread"], [b"a", "b"]), {}, DataError, "Row 1 of the train split holds a value of the kind bytes"),
        (pd.concat([FRAME, FRAME[["label"]]], axis=1), {}, DataError, '2 columns called "label"'),
    ],
)
def test_mistakes(data: Any, more: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        table(data, tmp_path, **more)


def test_a_frame_with_a_column_of_splits(tmp_path: Path) -> None:
    words = ["train"] * (len(TEXTS) - 4) + ["dev", "dev", "test", "test"]
    frame = FRAME.assign(split=words)
    with pytest.raises(
        DataError, match=r'"split", which says train and dev and test.*; use it with split_column="split"'
    ):
        table(frame, tmp_path)
    task = table(frame, tmp_path, split_column="split")
    assert [e.text for e in task.load("test")] == TEXTS[-2:]
    assert [e.text for e in task.load("dev")] == TEXTS[-4:-2]


def test_series_in_different_orders_are_not_paired(tmp_path: Path) -> None:
    texts, labels = pd.Series(TEXTS), pd.Series(MOODS)
    with pytest.raises(DataError, match="different indexes, so it is unclear which label is whose"):
        table((texts, labels.sort_values(kind="stable")[::-1]), tmp_path)
    assert len(all_examples(table((texts, labels), tmp_path))) == len(TEXTS)
