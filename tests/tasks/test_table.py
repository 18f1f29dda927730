"""Anyone's table: every format, single- and multi-label, given and made splits, and all the ways it can be wrong."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semtune.errors import DataError, OptionError, SemtuneError
from semtune.records import Example, SingleLabel, TaskOptions
from semtune.tasks.table import Table

MOODS = ["good", "bad", "mixed"]
ROWS: list[dict[str, Any]] = [{"key": f"k{i}", "comment": f"remark {i}", "mood": MOODS[i % 3]} for i in range(30)]


def table(data: Path | str, **options: Any) -> Table:
    options.setdefault("text_column", "comment")
    options.setdefault("label_column", "mood")
    return Table(TaskOptions(data=str(data), **options))


def everything(task: Table) -> dict[str, Example]:
    return {e.id: e for split in ("train", "dev", "test") for e in task.load(split)}


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".tsv":
        pd.DataFrame(rows).to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def lines(path: Path, *content: str) -> Path:
    path.write_text("\n".join(content) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    task = table(save(tmp_path / f"t{suffix}", ROWS), id_column="key")
    assert (task.labels, task.target_kind) == (("bad", "good", "mixed"), "single_label")
    assert {split: len(task.load(split)) for split in ("train", "dev", "test")} == {"train": 21, "dev": 3, "test": 6}
    assert everything(task) == {r["key"]: Example(r["key"], r["comment"], SingleLabel(r["mood"])) for r in ROWS}
    assert "split off the training rows by semtune" in task.notes[0]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_list_cells_are_multi_label(tmp_path: Path, suffix: str) -> None:
    rows = [{**r, "mood": [] if i % 5 == 0 else [r["mood"], "loud"]} for i, r in enumerate(ROWS)]
    task = table(save(tmp_path / f"t{suffix}", rows))
    assert (task.labels, task.target_kind) == (("bad", "good", "loud", "mixed"), "label_set")
    found = everything(task)
    assert (found["1"].labels, found["2"].labels, found["3"].labels) == ((), ("bad", "loud"), ("loud", "mixed"))


def test_a_separator_makes_it_multi_label(tmp_path: Path) -> None:
    rows = [{**r, "mood": "" if i % 5 == 0 else f"{r['mood']}; loud;"} for i, r in enumerate(ROWS)]
    task = table(save(tmp_path / "t.csv", rows), label_separator=";")
    found = everything(task)
    assert (task.target_kind, found["1"].labels, found["2"].labels) == ("label_set", (), ("bad", "loud"))


def test_text_that_looks_missing_is_text(tmp_path: Path) -> None:
    rows = [{"comment": f"{'NA' if i % 2 else 'null'} {i}", "mood": "None" if i % 2 else "nan"} for i in range(30)]
    task = table(save(tmp_path / "t.csv", rows))
    assert task.labels == ("None", "nan")


def test_usual_column_names_need_no_option(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", [{"text": r["comment"], "label": r["mood"]} for r in ROWS])
    assert Table(TaskOptions(data=str(path))).labels == ("bad", "good", "mixed")


@pytest.mark.parametrize(
    ("values", "labels"),
    [([1, 2], ("1", "2")), ([1.0, 2.5], ("1", "2.5")), ([True, False], ("false", "true"))],
)
def test_labels_that_are_numbers(tmp_path: Path, values: list[Any], labels: tuple[str, ...]) -> None:
    rows = [{"comment": f"remark {i}", "mood": values[i % 2]} for i in range(20)]
    assert table(save(tmp_path / "t.jsonl", rows)).labels == labels


def test_quoted_lines_semicolons_byte_order_mark_and_dos_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    body = "".join(f'"two\r\nlines; {i}";{MOODS[i % 2]}\r\n' for i in range(20))
    path.write_bytes(("\ufeffcomment;mood\r\n" + body).encode("utf-8"))
    found = everything(table(path))
    assert found["1"] == Example("1", "two\nlines; 0", SingleLabel("good")) and len(found) == 20


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"comment,mood\n" + b"".join(f"café {i},{MOODS[i % 2]}\n".encode("latin-1") for i in range(20)))
    with pytest.raises(DataError, match=r"is not UTF-8 text \(byte 16\); name its encoding with --encoding"):
        table(path).load("train")
    assert everything(table(path, encoding="latin-1"))["1"].text == "café 0"
    with pytest.raises(OptionError, match='no text encoding called "klingon"'):
        table(path, encoding="klingon").load("train")


def test_given_label_set_keeps_its_order(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", ROWS)
    task = table(path, labels=("mixed", "good", "bad", "absent"))
    assert task.labels == ("mixed", "good", "bad", "absent")
    with pytest.raises(DataError, match='row 3 has the unknown label "mixed"; did you mean "mixd"'):
        table(path, labels=("good", "bad", "mixd")).load("train")


def test_a_folder_of_splits(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", ROWS[:20])
    save(tmp_path / "validation.jsonl", ROWS[20:25])
    save(tmp_path / "test.tsv", ROWS[25:])
    task = table(tmp_path)
    assert [len(task.load(split)) for split in ("train", "dev", "test")] == [20, 5, 5]
    assert (task.load("test")[0].id, task.notes) == ("test-1", ())
    save(tmp_path / "dev.csv", ROWS[20:25])
    with pytest.raises(DataError, match=r"several files for the dev split \(dev.csv, validation.jsonl\)"):
        table(tmp_path).load("train")


def test_dev_and_test_files_beside_the_table(tmp_path: Path) -> None:
    data, test = save(tmp_path / "a.csv", ROWS[:25]), save(tmp_path / "b.csv", ROWS[25:])
    task = table(data, test_data=str(test))
    assert [len(task.load(split)) for split in ("train", "dev", "test")] == [23, 2, 5]
    assert task.notes[0].startswith("dev split off")
    save(tmp_path / "train.csv", ROWS), save(tmp_path / "test.csv", ROWS)
    with pytest.raises(OptionError, match="has a test split already; leave out --test-data"):
        table(tmp_path, test_data=str(test)).load("train")


def test_an_unlabelled_test_file(tmp_path: Path) -> None:
    data = save(tmp_path / "a.csv", ROWS)
    without_column = save(tmp_path / "b.csv", [{"comment": "new"}])
    empty_cell = save(tmp_path / "c.csv", [{"comment": "new", "mood": ""}])
    for test in (without_column, empty_cell):
        task = table(data, test_data=str(test))
        assert [e.labels for e in task.load("test")] == [None]
        with pytest.raises(DataError, match="The test split of table has no gold labels"):
            task.score(task.load("test"), [])


def test_an_id_in_two_splits(tmp_path: Path) -> None:
    data, test = save(tmp_path / "a.csv", ROWS), save(tmp_path / "b.csv", ROWS[:2])
    with pytest.raises(DataError, match='id "k0" is in the train split and in the test split'):
        table(data, test_data=str(test), id_column="key").load("train")


def test_splits_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    one = table(save(tmp_path / "a.csv", ROWS), id_column="key", split_seed=7)
    two = table(save(tmp_path / "b.csv", ROWS[::-1]), id_column="key", split_seed=7)
    for split in ("train", "dev", "test"):
        assert {e.id for e in one.load(split)} == {e.id for e in two.load(split)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", ["Comment,mood", "a,good"], 'no column "comment" .*--text-column.*; did you mean "Comment".*Known'),
        ("t.csv", ["comment,moods", "a,good"], 'no column "mood" .*--label-column.*; did you mean "moods"'),
        ("t.csv", ["comment,mood", "a,good", " ,bad"], 'row 2 has no text in column "comment"'),
        ("t.csv", ["comment,mood", "a,good", "b,"], 'row 2 has no label in column "mood"'),
        ("t.csv", ["comment,mood", "a,good", "b"], 'row 2 has no label in column "mood"'),
        ("t.csv", ["comment,mood", "a,good", "b,bad,worse"], "line 3 has 3 cells, but the header has 2"),
        ("t.csv", ["comment,mood", "a,good,great"], "a row has more cells than the header"),
        ("t.csv", ["comment,mood", "a,good", "b,good"], 'only the label "good" .* nothing to learn'),
        ("t.csv", ["comment,mood"], "has no rows"),
        ("t.csv", [""], "is empty"),
        ("t.csv", ["comment,mood", "a,good", "b,bad"], "2 different texts are too few to split"),
        ("t.jsonl", ['{"comment": "a", "mood": "good"}', "", '{"comment": "b", mood: 1}'], "line 3 is not valid JSON"),
        ("t.jsonl", ['{"comment": "a", "mood": "good"}', "[1]"], "line 2 must be a JSON object, but it is a list"),
        ("t.jsonl", ['{"comment": "a", "mood": {"x": 1}}'], "line 1 has a label that is neither text nor a number"),
        ("t.json", ['[{"comment": "a",', ' "mood": }]'], "line 2, column 10"),
        ("t.json", ["{", '"comment": "a"', "}", "{", '"comment": "b"', "}"], r"one after another .*line 4.* \(jq -c\)"),
        ("t.json", ['[{"comment": "a"}]', "[]"], "several objects or lists one after another"),
        ("t.json", ["{", '"comment": "a"', "},", "{", '"comment": "b"', "}"], "one after another"),
        ("t.json", ["[{", '"comment": "a"', "}] x"], "line 3, column 4: Extra data; correct it there"),
        ("t.jsonl", ["{", '"comment": "a"', "}"], r"one JSON object \(jq -c writes them so\)"),
        ("t.parquet", ["not parquet"], "cannot be read as Parquet"),
        ("t.xlsx", ["x"], "known by suffix: .csv, .tsv, .jsonl, .json, .parquet"),
    ],
)
def test_broken_tables(tmp_path: Path, name: str, content: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        table(lines(tmp_path / name, *content)).load("train")
    assert "\n" not in str(caught.value)


def test_broken_ids(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.csv", "key,comment,mood", "7,a,good", "8,b,bad", "7,c,bad")
    with pytest.raises(DataError, match='row 3 has the same id as row 1, "7"'):
        table(path, id_column="key").load("train")
    with pytest.raises(DataError, match=r'no column "keys" .*--id-column.*; did you mean "key"'):
        table(path, id_column="keys").load("train")
    path = lines(tmp_path / "t.csv", "key,comment,mood", "7,a,good", ",b,bad")
    with pytest.raises(DataError, match='row 2 has no id in column "key"'):
        table(path, id_column="key").load("train")


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(DataError, match="There is no file"):
            table(tmp_path / name).load("train")
    with pytest.raises(DataError, match="holds no train file"):
        table(tmp_path).load("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "needs --data"),
        ({"dev_fraction": 0.0}, "--dev-fraction must lie between 0 and 1, but it is 0"),
        ({"test_fraction": float("nan")}, "--test-fraction must lie between"),
        ({"dev_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"label_separator": ""}, "--label-separator must not be empty"),
        ({"labels": ()}, "at least one label"),
        ({"labels": ("a", " ")}, "none of them blank"),
        ({"labels": ("a", "b", "a")}, 'names "a" twice'),
        ({"data_dir": "x"}, "has no use for --data-dir; name the table with --data"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Table(TaskOptions(**{"data": "t.csv", **options}))


class HubSplit(list[dict[str, Any]]):
    """A split as the datasets package gives it: rows, with features beside them."""

    features: dict[str, Any] = {"text": SimpleNamespace(), "label": SimpleNamespace(names=["neg", "pos"])}  # noqa: RUF012


def test_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = HubSplit({"text": f"film {i}", "label": i % 2} for i in range(20))
    hidden = HubSplit([{"text": "unseen film", "label": -1}])
    fake = SimpleNamespace(load_dataset=lambda name: {"train": rows, "validation": rows, "test": hidden})
    monkeypatch.setitem(sys.modules, "datasets", fake)
    task = Table(TaskOptions(data="hub:someone/films"))
    assert (task.labels, task.load("train")[1].labels, task.load("dev")[0].id) == (("neg", "pos"), ("pos",), "dev-1")
    assert task.load("test")[0].labels is None

    def fail(name: str) -> None:
        raise ConnectionError("offline\nmore")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=fail))
    with pytest.raises(DataError, match=r'hub data set "someone/films" cannot be read \(offline\)'):
        Table(TaskOptions(data="hub:someone/films")).load("train")


@pytest.mark.parametrize("version", [3, 4])
def test_a_hub_data_sets_script_is_never_run(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    asked: list[bool | None] = []

    def load_3(path: str, trust_remote_code: bool | None = None) -> None:  # None: ask on the terminal, or run it
        asked.append(trust_remote_code)
        raise ValueError(f"{path} contains custom code; pass `trust_remote_code=True` to run it")

    def load_4(path: str, **config_kwargs: object) -> None:
        assert not config_kwargs
        raise RuntimeError(f"Dataset scripts are no longer supported, but found {path}.py")

    fake = SimpleNamespace(load_dataset=load_3 if version == 3 else load_4)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(DataError, match=r'"someone/films" is a Python script, which semtune never runs'):
        Table(TaskOptions(data="hub:someone/films")).load("train")
    assert asked == ([False] if version == 3 else [])


def test_hub_without_the_datasets_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match="needs the datasets package; run pip install datasets"):
        Table(TaskOptions(data="hub:someone/films")).load("train")


cell = st.one_of(
    st.none(), st.text(max_size=4), st.integers(0, 3), st.floats(), st.lists(st.text(max_size=2), max_size=2)
)
json_rows = st.lists(st.fixed_dictionaries({}, optional={"comment": cell, "mood": cell}), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".csv", ".tsv", ".jsonl", ".json"]),
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='comentd,;"\n\t x', max_size=60).map(lambda s: ("comment,mood\n" + s).encode()),
        json_rows.map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
        json_rows.map(lambda rows: json.dumps(rows).encode()),
    ),
)
def test_anything_loads_or_says_why(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    task = table(path)
    try:
        found = [task.load(split) for split in ("train", "dev", "test")]
    except SemtuneError as error:
        assert "\n" not in str(error).replace(str(path), "")
        return
    assert all(found)
    assert all(set(e.labels or ()) <= set(task.labels) for split in found for e in split)
