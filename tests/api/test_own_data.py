"""Data in memory become files that the `table` task reads as if the user had written them."""

from __future__ import annotations

import datetime
import decimal
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import semtune
from semtune.api.own_data import DataFolder, task_values
from semtune.api.wording import spoken_python
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

    column_names = ("text", "label", "number")
    format = {"type": "numpy", "columns": ["text", "label"], "output_all_columns": False}  # noqa: RUF012
    features = {"text": SimpleNamespace(), "label": SimpleNamespace(names=["bad", "good"])}  # noqa: RUF012

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.format["columns"]:  # as after `set_format(columns=…)`
            raise KeyError(name)
        return TEXTS if name == "text" else [["bad", "good"].index(mood) for mood in MOODS]


def test_datasets_with_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Dataset=FakeDataset))
    task = table({"train": FakeDataset(), "validation": FakeDataset(), "test": FakeDataset()}, tmp_path)
    assert task.labels == ("bad", "good")
    assert [e.labels for e in task.load("dev")] == [(mood,) for mood in MOODS]


def test_columns_of_several_levels_are_named_by_tuples(tmp_path: Path) -> None:
    levels = pd.MultiIndex.from_tuples([("a", "text"), ("a", "mood")])
    frame = pd.DataFrame(list(zip(TEXTS, MOODS, strict=True)), columns=levels)
    task = table(frame, tmp_path, text_column=("a", "text"), label_column=("a", "mood"))
    assert task.labels == ("bad", "good")


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
        (FRAME.assign(labels=MOODS), {}, DataError, 'a column "label" and a column "labels"; name the one to use'),
        ({"text": TEXTS, "label": MOODS}, {}, DataError, r"dict of columns \(text, label\).* pandas.DataFrame\(data\)"),
        ({"a": TEXTS, "b": MOODS}, {"text_column": "a"}, DataError, r"dict of columns \(a, b\)"),
        ({"train": FRAME, "val": FRAME, "dev": FRAME}, {}, DataError, '"val" and "dev", which are both dev'),
        ({"train": None, "test": FRAME}, {}, DataError, "no train split"),
        (FRAME, {"test": {"text": TEXTS, "label": MOODS}}, DataError, "texts of the test split are a table or mapping"),
        (FRAME, {"dev": {"text": TEXTS, "label": MOODS}}, DataError, r"cannot read \(dict\); give .* a DataFrame"),
        (FRAME, {"test": set(TEXTS)}, DataError, "the test split are a set, which has no order"),
        (FRAME, {"test": b"bread"}, DataError, "one value of the kind bytes"),
        ((set(TEXTS), MOODS), {}, DataError, "texts of the train split are a set"),
        ((TEXTS, dict(enumerate(MOODS))), {}, DataError, "labels of the train split are a table or mapping"),
        ((FRAME[["text"]], MOODS), {}, DataError, "texts of the train split are a table or mapping"),
        ((TEXTS, b"ab" * 12), {}, DataError, "labels of the train split are one value of the kind bytes"),
        (FRAME, {"text_column": 0}, DataError, 'no column "0"'),
        (FRAME, {"text_column": ""}, DataError, 'no column ""'),
        (FRAME, {"label_column": ["label"]}, OptionError, "label_column= must be the name of a column, .* kind list"),
        (FRAME, {"text_column": True}, OptionError, "text_column= must be the name of a column, not of the kind bool"),
        (FRAME, {"text_column": FRAME["text"]}, OptionError, "must be the name of a column, not of the kind Series"),
        (FRAME, {"text_column": np.int64(0)}, DataError, 'no column "0"'),
        (FRAME, {"text_column": ("a", "text")}, DataError, r"no column \"\('a', 'text'\)\""),
        ((np.array("bread"), np.array("a")), {}, DataError, "texts of the train split are one value of the kind nd"),
        ((TEXTS, np.arange(24).astype("timedelta64[ns]")), {}, DataError, "Row 1 of the train split .* timedelta64"),
        (
            (TEXTS, pd.to_timedelta(range(24), unit="s")),
            {},
            DataError,
            "holds a duration .* a number of seconds",
        ),
        ((TEXTS, np.arange(24) * 1j), {}, DataError, "a value of the kind complex128"),
        ((TEXTS, pd.cut(pd.Series(range(24)), 2)), {}, DataError, "a value of the kind Interval"),
        (
            (TEXTS, [{"mood": mood} for mood in MOODS]),
            {},
            DataError,
            'Row 1 .* an object with the key "mood"; put',
        ),
        ((TEXTS, np.array(MOODS, dtype="S")), {}, DataError, "a value of the kind bytes_"),
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


def test_an_index_is_no_column(tmp_path: Path) -> None:
    said = r'has "text" as its index, not as a column; give the frame with reset_index\(\)'
    with pytest.raises(DataError, match=said):
        table(FRAME.set_index("text"), tmp_path)
    with pytest.raises(DataError, match='has "label" as its index'):
        table(FRAME, tmp_path, test=FRAME.set_index(["n", "label"]))
    assert len(all_examples(table(FRAME.set_index("n"), tmp_path))) == len(TEXTS)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([{"split": "train"}] * 3 + [{"split": "test"}], '"split" inside the objects of its column "meta", which says'),
        ([f"train-{n}" for n in range(60)] + ["test-60"], r'"meta" has the name of a split in it \(train-0, test-60\)'),
        ([["train", "x"]] * 9 + [["test", "x"]], None),
        ([np.array(["train", "x"])] * 9 + [np.array(["test", "x"])], None),
    ],
)  # fmt: skip
def test_splits_inside_cells_of_a_frame_are_noted(column: list[Any], said: str | None, tmp_path: Path) -> None:
    labels = ["good", "bad"] * len(column)
    frame = pd.DataFrame({"text": [f"soup {n}" for n in range(len(column))], "label": labels[: len(column)]})
    frame["meta"] = column
    if said is None:
        assert 'has a column "meta" of lists, which says train and test' in "\n".join(table(frame, tmp_path).notes)
        return
    with pytest.warns(UserWarning, match=rf'{said}.* use it with split_column="NAME"'):
        table(frame, tmp_path)


def test_series_in_different_orders_are_not_paired(tmp_path: Path) -> None:
    texts, labels = pd.Series(TEXTS), pd.Series(MOODS)
    with pytest.raises(DataError, match="different indexes, so it is unclear which label is whose"):
        table((texts, labels.sort_values(kind="stable")[::-1]), tmp_path)
    assert len(all_examples(table((texts, labels), tmp_path))) == len(TEXTS)


def test_labels_of_a_test_frame_are_not_lost_under_nearly_the_same_name(tmp_path: Path) -> None:
    test = pd.DataFrame({"text": ["soup", "bread"], "Label": ["good", "bad"]})
    with pytest.raises(DataError, match='no column "label" but a column "Label"'):
        table(FRAME, tmp_path, test=test).load("test")
    task = table(FRAME, tmp_path, test=test.rename(columns={"Label": "guess"}))
    assert [e.labels for e in task.load("test")] == [None, None]
    assert any('has no column "label" (its columns: "text", "guess")' in note for note in task.notes)


def test_texts_and_labels_go_with_a_frame_whose_columns_have_other_names(tmp_path: Path) -> None:
    frame = FRAME.rename(columns={"label": "labels"})
    task = table(frame, tmp_path, dev=(TEXTS[:4], MOODS[:4]), test=frame.rename(columns={"labels": "guess"})[:2])
    assert [e.labels for e in task.load("dev")] == [(mood,) for mood in MOODS[:4]]
    assert [e.labels for e in task.load("test")] == [None, None]


@pytest.mark.parametrize(("column", "word"), [("answer", "reject"), ("was_cancelled", True)])
def test_annotations_that_do_not_count_are_noted_as_in_a_file(column: str, word: Any, tmp_path: Path) -> None:
    task = table(FRAME.assign(**{column: [word, *[""] * (len(TEXTS) - 1)]}), tmp_path)
    assert any(f'the column "{column}" marks a row as rejected' in note for note in task.notes)


def test_texts_ids_and_vectors_of_other_columns_are_not_written(tmp_path: Path) -> None:
    texts, moods = [f"{text} {n}" for n, text in enumerate(TEXTS * 2)], MOODS * 2
    frame = pd.DataFrame({"text": texts, "label": moods, "when": pd.Timestamp("2026-01-01"), "fold": [*range(4)] * 12})
    frame = frame.assign(
        mail=[f"{n}@example.org" for n in range(48)], story="x" * 100, thing=object(),
        users=[[f"user {n}", f"user {n + 1}"] for n in range(48)], printed=[f"['user {n}', 'b']" for n in range(48)],
        crowd=[[f"user {n}"] * 21 for n in range(48)], vector=[np.ones(3) * n for n in range(48)],
    )  # fmt: skip
    table(frame, tmp_path)
    (file,) = (tmp_path / "data").iterdir()
    first, second = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:2])
    assert second.keys() == {"text", "label", "when", "fold", "users", "printed"}
    assert list(first) == list(frame.columns), "the reader knows all names"
    assert [first[name] for name in ("mail", "vector", "story", "thing", "crowd")] == [None] * 5


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array(["2020-01-01", "2021-02-03"] * 12, dtype="datetime64[ns]"), "2020-01-01 00:00:00"),
        (pd.Series(pd.to_datetime(["2020-01-01", "2021-02-03"] * 12)), "2020-01-01 00:00:00"),
        (np.array(["2020-01-01", "2021-02-03"] * 12, dtype="datetime64[D]"), "2020-01-01"),
        (np.array(["2020", "2021"] * 12, dtype="datetime64[Y]"), "2020"),
        (np.array(["2020-01-01T00:00:00.000000001", "2021-02-03"] * 12, dtype="datetime64[ns]"), "2020-01-01T00:"),
        ([datetime.time(8), datetime.time(9)] * 12, "08:00:00"),
        ([decimal.Decimal("1.00"), decimal.Decimal("2.00")] * 12, "1.00"),
    ],
    ids=["ns", "series", "days", "years", "nanosecond", "times", "decimals"],
)
def test_dates_and_decimals_become_text_and_it_is_said(labels: Any, found: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf'a label that is a (date|time|number) was read .* row 1 .*"{found[:8]}'):
        task = table((TEXTS, labels), tmp_path)
    assert task.labels[0].startswith(found)
    assert len(task.labels) == 2


NARROW = np.array([0.1, 0.7] * 12, dtype=np.float32)


@pytest.mark.parametrize(
    "labels",
    [
        NARROW,
        NARROW.astype(np.float16),
        list(NARROW),
        pd.Series(NARROW, dtype="Float32"),
        pd.Series(NARROW, dtype=pd.ArrowDtype(pa.float32())),
        torch.tensor(NARROW),
        [np.array([value]) for value in NARROW],
        NARROW.astype(np.longdouble).round(1),
    ],
    ids=["fp32", "fp16", "list", "nullable", "arrow", "torch", "arrays", "longdouble"],
)
def test_narrow_numbers_are_labels_as_they_are_written(labels: Any, tmp_path: Path) -> None:
    assert table((TEXTS, labels), tmp_path / "pair").labels == ("0.1", "0.7")
    if isinstance(labels, pd.Series):
        assert table(pd.DataFrame({"text": TEXTS, "label": labels}), tmp_path / "frame").labels == ("0.1", "0.7")


def test_columns_that_are_numbers_are_named_by_them(tmp_path: Path) -> None:
    task = table(pd.DataFrame({0: MOODS, 1: TEXTS}), tmp_path, text_column=1, label_column=0)
    assert all_examples(task) == {text: (mood,) for text, mood in zip(TEXTS, MOODS, strict=True)}


@pytest.mark.parametrize("name", ["task", "task_options"])
def test_data_are_not_replaced_by_keys_of_a_spec(name: str) -> None:
    for call in (semtune.tune, semtune.study):
        with pytest.raises(OptionError, match=f"no option {name}=; give the data themselves"):
            call((TEXTS, MOODS), **{name: {"data": "other.csv"}})


ROWS_OF_A_FILE = [
    {},
    {"label": [1, 0] * 12},
    {"label": [["a", "b"], ["c"]] * 12},
    {"label": [[1, 0], [0, 1]] * 12},
    {"label": [None, *MOODS[1:]]},
    {"labels": MOODS},
    {"text": ["#REF!", *TEXTS[1:]]},
    {"text": ["R&amp;D", *TEXTS[1:]]},
    {"answer": ["reject", *["accept"] * 23]},
    {"split": ["train"] * 20 + ["test"] * 4},
    {"split": ["train"] * 20 + ["test"] * 3 + [None]},
    {"fold": [0, 1, 2, 3] * 6},
    {"text": None, "Text": TEXTS},
    {"text": None, "data": [{"text": text} for text in TEXTS]},
]
"""Columns beside or instead of those of texts and labels; None: there is no such column."""


@pytest.mark.parametrize("changes", ROWS_OF_A_FILE, ids=lambda changes: "+".join(changes) or "plain")
def test_a_frame_is_read_refused_and_noted_as_the_file_with_its_rows(changes: dict[str, Any], tmp_path: Path) -> None:
    columns = {name: cells for name, cells in ({"text": TEXTS, "label": MOODS} | changes).items() if cells is not None}
    frame = pd.DataFrame(columns)
    frame.to_json(tmp_path / "own.jsonl", orient="records", lines=True)

    def found(data: Any) -> Any:
        with spoken_python(tmp_path / "memory" / "data"):
            task = table(data, tmp_path / "memory")
            return task.labels, task.target_kind, task.notes

    def outcome(data: Any) -> str:
        try:
            said = repr(found(data))
        except DataError as error:
            said = f"refused: {error}".replace("'", '"')
        return re.sub(r"[^\s(\"']*\.jsonl(, (line|row) \d+)?|(row \d+ of )?[tT]he train split", "PLACE", said)

    assert outcome(frame) == outcome(tmp_path / "own.jsonl")
