"""Advice for data that can be read but was probably not meant so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError, OptionError
from semtune.records import TaskOptions
from semtune.tasks.table import Table
from semtune.tasks.text_file import read_texts


def task_of(file: Path | str, **options: Any) -> Table:
    return Table(TaskOptions(data=str(file), text_column="text", label_column="label", **options))


def table(folder: Path, rows: list[tuple[str, str]]) -> Path:
    file = folder / "rows.csv"
    file.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n", encoding="utf-8")
    return file


def test_a_url_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a URL, but a file is needed; download it"):
        task_of("https://example.org/rows.csv").load("train")


def test_a_pattern_names_what_it_matches(tmp_path: Path) -> None:
    table(tmp_path, [("a", "x")])
    with pytest.raises(DataError, match=r"is a pattern of 1 files \(first: rows.csv\)"):
        task_of(tmp_path / "*.csv").load("train")


def test_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    file = table(tmp_path, [(f"text {i}", "xy"[i % 2]) for i in range(20)]).rename(tmp_path / "rows[1].csv")
    assert task_of(file).load("train")


def test_labels_of_their_own_point_at_the_column(tmp_path: Path) -> None:
    file = table(tmp_path, [(f"text {i}", f"label {i}") for i in range(12)])
    with pytest.raises(DataError, match="every text has a label of its own, so check --label-column"):
        task_of(file).load("train")


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_of_totals_is_remarked(rows: int, tmp_path: Path) -> None:
    usual = [(f"text {i}", "xy"[i % 2]) for i in range(40)]
    extra = [(f"sum {i}", f"Total {i}") for i in range(rows)]
    notes = task_of(table(tmp_path, usual + extra)).data_notes
    assert any("Total 0" in note and "hardly to be learnt" in note for note in notes)


def test_a_second_header_is_remarked_in_multi_label_tables_too(tmp_path: Path) -> None:
    file = table(
        tmp_path, [("Open-Ended Response", "Response"), *((f"text {i}", ("x;y", "x")[i % 2]) for i in range(40))]
    )
    (note,) = (note for note in task_of(file, label_separator=";").data_notes if "hardly" in note)
    assert 'the label "Response" has one text' in note
    assert not any("hardly" in n for n in task_of(file, label_separator=";", labels=("Response", "x", "y")).data_notes)


def test_rare_labels_among_rare_labels_are_usual(tmp_path: Path) -> None:
    rows = [(f"text {i}", f"label {i // 2}") for i in range(40)] + [("alone", "rare")]
    assert not any("hardly" in note for note in task_of(table(tmp_path, rows)).data_notes)


USUAL = [(f"text {i}", "xy"[i % 2]) for i in range(20)]


def given_test(folder: Path, text: str, **options: object) -> Table:
    """A task with a train and a test file."""
    table(folder, USUAL)
    test = folder / "test.csv"
    test.write_text(text, encoding="utf-8")
    return Table(TaskOptions(data=str(folder / "rows.csv"), test_data=str(test), **options))


def test_a_label_column_of_nearly_the_same_name_is_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='has no column "label" but a column "Label"'):
        given_test(tmp_path, "text,Label\nnew,x\nmore,y\n").load("test")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            "X Y X",
            r'the labels "X", "Y" \(3 texts, first: id "test-1"\).*"X" and "x" differ only in case, "Y" and "y" ',
        ),
        ("x y. y.", r'the label "y\." \(2 texts, first: id "test-2"\).*"y\." and "y" differ only in spelling'),
        ("X other x", r'\(2 texts, .*"X" and "x" differ only in case; spell them alike in all splits, and correct the'),
        ("x other", r'the label "other" \(1 text, .*nothing could learn it; .*--labels'),
    ],
)
def test_labels_of_test_alone_are_compared_with_those_of_train(labels: str, said: str, tmp_path: Path) -> None:
    rows = "".join(f"new {i},{label}\n" for i, label in enumerate(labels.split()))
    with pytest.raises(DataError, match=said) as caught:
        given_test(tmp_path, f"text,label\n{rows}").load("test")
    assert ("--labels" in str(caught.value)) == ("nothing could learn" in str(caught.value))


def test_test_texts_without_a_label_among_others_are_counted(tmp_path: Path) -> None:
    notes = given_test(tmp_path, "text,label\nnew,x\nmore,\n").data_notes
    assert any("1 of 2 texts have no label" in note and "not scored" in note for note in notes)


@pytest.mark.parametrize("error", ["#NAME?", "#VALUE!", "#REF!", "#DIV/0!"])
@pytest.mark.parametrize("place", ["text", "label"])
def test_a_spreadsheets_error_is_no_text_and_no_label(error: str, place: str, tmp_path: Path) -> None:
    row = (error, "x") if place == "text" else ("a text", error)
    with pytest.raises(DataError, match=f"has the spreadsheet error {error[:4]}"):
        task_of(table(tmp_path, [*USUAL, row])).load("train")


def test_two_usual_label_columns_are_not_chosen_from(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label,labels\n" + "".join(f"text {i},x,y\n" for i in range(9)), encoding="utf-8")
    with pytest.raises(DataError, match='a column "label" and a column "labels"; name the one to use'):
        Table(TaskOptions(data=str(file))).load("train")


def test_shares_of_splits_that_are_given_are_remarked(tmp_path: Path) -> None:
    notes = given_test(tmp_path, "text,label\nnew,x\n", test_fraction=0.4).data_notes
    assert any("--test-fraction has no effect" in note for note in notes)
    assert not any("no effect" in note for note in given_test(tmp_path, "text,label\nnew,x\n").data_notes)


def test_a_separator_of_json_lines_is_remarked(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"text": "text {i}", "label": "{"xy"[i % 2]}"}}\n' for i in range(20)), encoding="utf-8")
    notes = Table(TaskOptions(data=str(file), separator=";")).data_notes
    assert any("--separator has no effect" in note for note in notes)


def test_a_text_file_is_a_table_where_its_column_is_named(tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_text("text\tlabel\nlovely soup\tgood\n", encoding="utf-8")
    assert read_texts(file, TaskOptions(text_column="text"))[0] == ["lovely soup"]
    assert read_texts(file, TaskOptions())[0] == ["text\tlabel", "lovely soup\tgood"]


def test_columns_of_a_file_that_is_no_table_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "new.dat"
    file.write_text("text\tlabel\n", encoding="utf-8")
    with pytest.raises(OptionError, match="is read as one text a line, so columns mean nothing"):
        read_texts(file, TaskOptions(text_column="text"))


def test_another_column_than_the_runs_own_is_said(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("Review,text\nlovely,cold\n", encoding="utf-8")
    texts, notes = read_texts(file, TaskOptions(), ("review", "text"))
    assert texts == ["cold"]
    assert any('the column "text" was taken' in note and 'no column "review"' in note for note in notes)
    assert not read_texts(file, TaskOptions(), ("text",))[1]


def test_lists_of_one_label_each_are_remarked(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [f'{{"text": "text {i}", "label": ["{"xy"[i % 2]}"]}}' for i in range(20)]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert any("exactly one label, in a list" in note for note in task_of(file).data_notes)
    file.write_text("\n".join([*lines, '{"text": "both", "label": ["x", "y"]}']), encoding="utf-8")
    assert not any("exactly one" in note for note in task_of(file).data_notes)


def test_separated_labels_of_one_each_are_remarked(tmp_path: Path) -> None:
    file = table(tmp_path, USUAL)
    said = task_of(file, label_separator=";").data_notes
    assert any("exactly one label, under --label-separator: scored as sets" in note for note in said)
    assert not any("in a list" in note for note in said)


def test_named_labels_that_no_text_has(tmp_path: Path) -> None:
    file = table(tmp_path, USUAL)
    options = TaskOptions(data=str(file), text_column="text", label_column="label", labels=("x", "y", "absent"))
    assert any("no text has the label" in note and "absent" in note for note in Table(options).data_notes)


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize(("labels", "noted"), [(["a"] * 9, True), (["a"] * 8 + ["b"], False), (["a"] * 3, False)])
def test_a_given_split_of_one_class_may_be_a_placeholder(
    split: str, labels: list[str], noted: bool, tmp_path: Path
) -> None:
    table(tmp_path, [(f"soup {n}", "ab"[n % 2]) for n in range(40)]).rename(tmp_path / "train.csv")
    table(tmp_path, [(f"tea {n}", label) for n, label in enumerate(labels)]).rename(tmp_path / f"{split}.csv")
    notes = "\n".join(Table(TaskOptions(data=str(tmp_path))).notes)
    assert (f'all 9 {split} texts have the label "a", which 50% of the train texts have' in notes) == noted


def test_a_given_split_of_the_usual_class_is_no_surprise(tmp_path: Path) -> None:
    table(tmp_path, [(f"soup {n}", "b" if n < 2 else "a") for n in range(40)]).rename(tmp_path / "train.csv")
    table(tmp_path, [(f"tea {n}", "a") for n in range(20)]).rename(tmp_path / "test.csv")
    assert "sample submission" not in "\n".join(Table(TaskOptions(data=str(tmp_path))).notes)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("Exported from: Sheet 1,\n", "remove the row, which may be a footer line, as only the last row lacks one"),
        ("Exported,\nSheet 1,\n", "remove the row, which may be a footer line, as only the last 2 rows lack one"),
        (",60\n", "remove the row, which may be a footer line, as only the last row lacks one"),
        ("a soup,\na tea,good\na bun,\n", "remove the row (2 rows lack one)"),
        ("a soup,\na tea,good\n", "fill it in or remove the row"),
    ],
)
def test_the_last_row_without_a_label_may_be_a_footer(rows: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("text,label\n" + "".join(f"soup {i},{'good' if i % 2 else 'bad'}\n" for i in range(20)) + rows)
    with pytest.raises(DataError) as caught:
        _ = Table(TaskOptions(data=str(file))).labels
    assert said in str(caught.value)
    assert ("footer" in str(caught.value)) == ("footer" in said)
