"""Whole cells that stand for no value are refused or remarked, in any language; the same words in a text are text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.text_file import read_texts

from .tables import HEADER, LABELS, ROWS, notes, pairs, refused, save, table

ERRORS = (
    "#WERT!", "#BEZUG!", "#ZAHL!", "#VALEUR!", "#NOM?", "#¡VALOR!", "#¿NOMBRE?", "#VALORE!", "#NAAM?", "#ARG!",
    "#ЗНАЧ!", "#ССЫЛКА!", "#VÄRDEFEL!", "#ERROR!", "#FIELD!", "Err:502", "Fehler:508", "Erreur: 502",
)  # fmt: skip
MARKS = ("#NV", "#N/D", "#N/A", "#N/A N/A", "#Н/Д", "\\N", "<NULL>", "(null)", "[NULL]", "<NA>", "1.#QNAN", "-1.#IND")


def with_cell(folder: Path, column: int, cell: str, *places: int) -> Path:
    """The usual table with `cell` as the text (0) or label (1) of some rows."""
    rows = [list(row) for row in ROWS]
    for place in places:
        rows[place][column] = cell
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *rows])
    return save(folder / "t.csv", out.getvalue())


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("column", [0, 1])
def test_errors_of_spreadsheets_in_any_language_are_refused(tmp_path: Path, error: str, column: int) -> None:
    assert f"row 4 has the spreadsheet error {error} in column" in refused(with_cell(tmp_path, column, error, 3))


@pytest.mark.parametrize("column", [0, 1])
def test_values_too_wide_for_a_spreadsheets_column_are_refused(tmp_path: Path, column: int) -> None:
    said = refused(with_cell(tmp_path, column, "#########", 3))
    assert 'row 4 has "#########" in column' in said and "too narrow for; widen it and save the file again" in said


def test_fewer_number_signs_may_be_such_values(tmp_path: Path) -> None:
    assert 'word with which tables mark a missing value, and was taken as it stands, in row 4, "####"' in notes(
        with_cell(tmp_path, 0, "####", 3)
    )
    assert 'the label "####" (3 texts) is read as a label like any other' in notes(
        with_cell(tmp_path, 1, "####", 3, 4, 5)
    )
    assert "missing" not in notes(with_cell(tmp_path, 1, "##", 3, 4, 5))


@pytest.mark.parametrize(
    "mark",
    ["[deleted]", "[removed]", "[ Removed by Reddit ]", "deleted by user", "<Media omitted>", "image omitted",
     "\u200eGIF omitted", "video note omitted", "This message was deleted", "You deleted this message.",
     "Not Available", "This video is no longer available", "This Tweet is from a suspended account.",
     "This content isn't available right now", "[redacted]",
     "[flagged]", "Anna Smith sent an attachment.", "<Medien ausgeschlossen>", "Diese Nachricht wurde gelöscht.",
     "imagen omitida",
     "Se eliminó este mensaje.", "Ce message a été supprimé", "Mensagem apagada", "(message deleted)",
     "\ufffc", "\ufffc\ufffc", "Loading...", "Loading…", "Wird geladen …"],
)  # fmt: skip
def test_marks_of_deleted_messages_are_counted(tmp_path: Path, mark: str) -> None:
    file = with_cell(tmp_path, 0, mark, 3, 9)
    said = notes(file)
    assert "a text is a mark of a deleted message or of content that was left out or not loaded" in said
    assert "in 2 rows (first: row 4" in said and pairs(file)[3][0] == mark
    _, lines = read_texts(save(tmp_path / "t.txt", f"fine\n{mark}\n"), TaskOptions())
    assert any("of a deleted message" in line for line in lines)


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_missing_values_are_no_text_and_no_label(tmp_path: Path, mark: str) -> None:
    said = refused(with_cell(tmp_path, 0, mark, 3))
    assert "row 4 has" in said and "mark a missing value; fill it in, or remove the row" in said
    said = refused(with_cell(tmp_path, 1, mark, 3, 4, 5))
    assert "row 4 has the label" in said and "--labels" in said
    assert pairs(with_cell(tmp_path, 1, mark, 3), labels=(*LABELS, mark))[3][1] == mark
    with pytest.raises(DataError, match="row 4 has"):
        read_texts(with_cell(tmp_path, 0, mark, 3), TaskOptions())


def test_lines_that_are_no_texts_are_remarked(tmp_path: Path) -> None:
    texts, said = read_texts(save(tmp_path / "t.txt", "fine\n#WERT!\na #NV inside\n\\N\n"), TaskOptions())
    assert texts == ["fine", "#WERT!", "a #NV inside", "\\N"]
    assert any("a mark of a missing value, and was taken as it stands, in 2 rows (first: line 2" in n for n in said)


def test_a_mark_among_several_labels_is_refused(tmp_path: Path) -> None:
    said = refused(with_cell(tmp_path, 1, "sunny;\\N", 3), label_separator=";")
    assert "row 4 has the label" in said and "or empty the cell if the text has no label" in said


@pytest.mark.parametrize("mark", ["\\N", "#NV", "<NULL>", "k.A."])
def test_a_mark_in_the_test_split_hides_its_labels(tmp_path: Path, mark: str) -> None:
    train = with_cell(tmp_path, 1, "sunny", 0)
    test = save(tmp_path / "test.jsonl", "\n".join(json.dumps({"text": f"new {t}", "label": mark}) for t, _ in ROWS))
    task = table(train, test_data=str(test))
    assert [e.labels for e in task.load("test")] == [None] * len(ROWS)
    assert "placeholder of hidden labels" in "\n".join(task.notes)


@pytest.mark.parametrize(
    "word",
    ["k.A.", "-99", "(blank)", "<empty>", "keine Angabe", "n.a.", "(n/a)", "[none]", "Choose an item.", "- Select -"],
)
def test_placeholders_among_labels_are_said(tmp_path: Path, word: str) -> None:
    file = with_cell(tmp_path, 1, word, 3, 4, 5)
    assert f'the label "{word}" (3 texts) is read as a label like any other' in notes(file)
    assert "like any other" not in notes(file, labels=(*LABELS, word))


@pytest.mark.parametrize("word", ["nan", "NULL", "n/a", "None of it; n/a"])
def test_a_word_for_a_missing_value_as_text_is_counted(tmp_path: Path, word: str) -> None:
    said = notes(with_cell(tmp_path, 0, word, 3))
    assert ("a text is a word with which tables mark a missing value" in said) == (len(word) < 6)


@pytest.mark.parametrize(
    "text",
    ["a #NV inside", "#WERT! is what Excel says", "Err:502 came up", "\\N is NULL", "#nevada", "#WOW!", "?", "-",
     "Error: 404", "<b>null</b>", "the (null) hypothesis", "#1", "##", "My post was removed", "deleted",
     "They unsent it", "This video is available", "Removed by mistake", "This post was deleted by accident",
     "He sent an attachment",
     "This message was deleted by mistake, can you get it back?", "[deleted] said so", "Image omitted from the report"],
)  # fmt: skip
def test_honest_texts_are_text(tmp_path: Path, text: str) -> None:
    file = with_cell(tmp_path, 0, text, 3)
    assert pairs(file)[3][0] == text and not re.search("missing|deleted message", notes(file))


@pytest.mark.parametrize("label", ["n/a", "C#", "#metoo", "-1", "other", "No", "99", "(don't know)"])
def test_honest_labels_are_labels(tmp_path: Path, label: str) -> None:
    assert pairs(with_cell(tmp_path, 1, label, 3, 4, 5))[3][1] == label
    assert "missing" not in notes(with_cell(tmp_path, 1, label, 3, 4, 5), labels=(*LABELS, label))
