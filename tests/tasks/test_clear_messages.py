"""Messages that name what is wrong and the option that helps, where a first guess would mislead."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import DataError, OptionError, with_stop
from semtune.records import TaskOptions
from semtune.tasks.decoding import decode_file
from semtune.tasks.table import Table

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save


def with_test(folder: Path, text: str, train: str = "", **options: object) -> Table:
    """A table with a test file of its own."""
    data = save(folder / "train.csv", train or joined([("text", "label"), *ROWS], ","))
    test = save(folder / "test.csv", text)
    return Table(TaskOptions(data=str(data), test_data=str(test), **options))


def test_a_header_that_is_cut_by_another_separator_names_its_own(tmp_path: Path) -> None:
    rows = [("text", "label", "score, %"), *((t, label, f"{i},5") for i, (t, label) in enumerate(ROWS))]
    message = refused(save(tmp_path / "t.csv", joined(rows, ";")))
    assert '--separator ";"' in message


@pytest.mark.parametrize("column", ["sentiment", "gold", "class"])
def test_a_test_file_without_the_label_column_names_its_columns(tmp_path: Path, column: str) -> None:
    said = " ".join(with_test(tmp_path, f"text,{column}\nnew one,sunny\n").data_notes)
    assert 'has no column "label" (its columns: "text", "' + column + '")' in said and "not scored" in said


def test_a_test_file_with_the_other_usual_name_of_the_label_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='has no column "label" but a column "labels"; name them alike'):
        with_test(tmp_path, "text,labels\nnew one,sunny\n").load("test")


def test_a_test_file_of_texts_alone_is_said_to_be_unscored(tmp_path: Path) -> None:
    assert any("not scored" in note for note in with_test(tmp_path, "text\nnew one\n").data_notes)


def test_files_with_separators_of_their_own_need_none_named(tmp_path: Path) -> None:
    train = joined([("text", "label"), *ROWS], ";")
    with pytest.raises(DataError) as caught:
        with_test(tmp_path, "text,label\nnew one,sunny\n", train, separator=";").load("test")
    assert "leave --separator out" in str(caught.value)
    assert len(with_test(tmp_path, "text,label\nnew one,sunny\n", train).load("test")) == 1


def test_a_question_about_the_encoding_has_one_stop(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("naïve\n".encode())
    (note,) = decode_file(path, "cp1252", encoding_option=True).notes
    assert note.endswith("is --encoding right?") and with_stop(note) == note


def test_labels_that_are_a_cut_list_are_refused(tmp_path: Path) -> None:
    rows = [("text", "label"), *((t, str(i % 2)) for i, (t, _) in enumerate(ROWS))]
    data = str(save(tmp_path / "t.csv", joined(rows, ",")))
    with pytest.raises(OptionError, match=r'--labels names "\[0" and "1\]", .*JSON list'):
        Table(TaskOptions(data=data, labels=("[0", "1]")))


@pytest.mark.parametrize(("stored", "typed"), [("re\u0301ponse", "réponse"), ("réponse", "re\u0301ponse")])
def test_a_column_is_found_in_either_normal_form(tmp_path: Path, stored: str, typed: str) -> None:
    file = save(tmp_path / "t.csv", joined([(stored, "label"), *ROWS], ","))
    assert pairs(file, text_column=typed) == ROWS


def test_a_label_in_another_normal_form_is_said_to_be_that(tmp_path: Path) -> None:
    file = save(tmp_path / "t.csv", joined([HEADER, *((text, "the\u0301") for text, _ in ROWS)], ","))
    said = refused(file, labels=("thé", "café"))
    assert "only in normal form" in said and r"\xe9" in said and "did you mean" not in said


def test_sums_of_money_that_are_one_number_are_said(tmp_path: Path) -> None:
    rows = [(text, ("$1,000", "$1000", "€5", "$5")[i % 4]) for i, (text, _) in enumerate(ROWS)]
    said = notes(save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t")))
    assert 'the labels "$1,000", "$1000" are the same number' in said and '"€5"' not in said
