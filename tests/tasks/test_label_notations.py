"""Ways in which other programs write several labels into one cell: read, remarked, or refused; never taken apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import OptionError
from semtune.tasks.remarks import shown

from .tables import HEADER, LABELS, ROWS, joined, notes, pairs, refused, save, table


def cells(folder: Path, labels: Sequence[str]) -> Path:
    """A CSV file with these label cells in turn."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [HEADER, *((text, labels[i % len(labels)]) for i, (text, _) in enumerate(ROWS))]
    )
    return save(folder / "t.csv", out.getvalue())


def objects(folder: Path, labels: Sequence[Any]) -> Path:
    """JSON lines with these labels in turn."""
    rows = [{"text": text, "label": labels[i % len(labels)]} for i, (text, _) in enumerate(ROWS)]
    return save(folder / "t.jsonl", "\n".join(map(json.dumps, rows)))


# Numbers that say which labels apply


@pytest.mark.parametrize(
    "labels",
    [
        ["[1, 0]", "[0, 1]"],
        ["[True, False, True]", "[False, True, False]"],
        ["(0, 0)", "", "(1, 0)"],
        ["[1.0, 0.0]", "[0.0, 1.0]"],
        ["['0', '1']", "['1', '0']"],
        ["[-1, 1]", "[1, -1]"],
        ["[0.8, 0.2]", "[0.1, 0.9]"],
    ],
)
def test_a_number_for_each_label_is_refused(tmp_path: Path, labels: list[str]) -> None:
    message = refused(cells(tmp_path, labels))
    assert "row 1 has the label" in message and "a number for each label" in message and "names" in message


@pytest.mark.parametrize(
    "labels", [[[True, False], [False, True]], [[1, 0, 0], [0, 0, 1], []], [["0", "1"], ["1", "1"]]]
)
def test_lists_of_json_that_hold_a_number_for_each_label(tmp_path: Path, labels: list[Any]) -> None:
    assert "a number for each label" in refused(objects(tmp_path, labels))
    assert "a number for each label" in refused(objects(tmp_path, labels), labels=("0", "1", "true", "false"))


def test_separated_digits_are_a_number_for_each_label(tmp_path: Path) -> None:
    assert "a number for each label" in refused(cells(tmp_path, ["0;1;0", "1;0;0"]), label_separator=";")


@pytest.mark.parametrize("labels", [[[0], [1]], [[3, 5], [2, 5]], [[0, 1], [1], [0]], [["a", "b"], ["b", "c"]]])
def test_lists_of_class_numbers_are_labels(tmp_path: Path, labels: list[Any]) -> None:
    assert pairs(objects(tmp_path, labels))[0][1] == "+".join(map(str, labels[0]))


@pytest.mark.parametrize(
    "labels", [["101", "010", "001"], ["1 0 1", "0 0 1"], ["[0 1 0]", "[1 0 0]"], ["[0. 1.]", "[1. 0.]"]]
)
def test_digits_without_commas_are_remarked(tmp_path: Path, labels: list[str]) -> None:
    assert "a number for each label" in notes(cells(tmp_path, labels))
    assert "a number for each label" not in notes(cells(tmp_path, ["10", "11", "100"]))


# Lists in the notations of other programs


@pytest.mark.parametrize(
    "label", ["{sunny,windy}", "[sunny, windy]", "(sunny, windy)", "{sunny}", "[sunny windy]", "<a, b>"]
)
def test_brackets_without_quotes_are_remarked(tmp_path: Path, label: str) -> None:
    file = cells(tmp_path, [label, "sunny"])
    assert pairs(file)[0][1] == label
    said = notes(file)
    assert f'the label "{label}" is in brackets, like a list of another program' in said and "JSON" in said


@pytest.mark.parametrize(
    "label",
    [
        'c("a", "b")',
        "c('a','b')",
        'list("a", "b")',
        'list("a")',
        "character(0)",
        "c(1, 2)",
        "List(a, b)",
        'list(x = "a")',
    ],
)
def test_vectors_of_r_are_remarked(tmp_path: Path, label: str) -> None:
    file = cells(tmp_path, [label, "a", "b"])
    assert pairs(file)[0][1] == label
    said = notes(file)
    assert f"the label {shown(label)} looks like a vector or list, as R prints it, and was taken as one label" in said
    assert "joined" not in notes(cells(tmp_path, ['c("a", "b")', 'c("a", "c")', 'c("b", "c")', 'c("c", "b")']))


@pytest.mark.parametrize(
    "label", ["C(sp3)", "set (mathematics)", "list", "vector(3)", "abc(a, b)", "c (a, b)", "print()"]
)
def test_words_before_brackets_are_no_vectors(tmp_path: Path, label: str) -> None:
    assert "as R prints it" not in notes(cells(tmp_path, [label, "a", "b"]))


@pytest.mark.parametrize("label", ["1. taste\n2. price", "1) taste\n2) price", "- taste\n- price"])
def test_lists_that_are_typed_into_a_cell_are_remarked(tmp_path: Path, label: str) -> None:
    file = cells(tmp_path, [label, "smell", "service"])
    assert 'looks like several labels joined by "\\n"' in notes(file)


@pytest.mark.parametrize(
    ("labels", "joined"),
    [
        (["1/2/2024", "01/02/2024", "1/3/2024", "2/2/2024"], False),
        (["1/5", "5/5", "2/5", "4/5"], False),
        (["5/5", "5", "1"], False),
        (["1/2", "1", "2"], True),
        (["a/b", "a", "b"], True),
    ],
)
def test_dates_and_points_of_so_many_are_not_joined_labels(tmp_path: Path, labels: list[str], joined: bool) -> None:
    assert ('joined by "/"' in notes(cells(tmp_path, labels))) == joined


@pytest.mark.parametrize("label", ["<sunny><windy>", "[sunny][windy]", "{sunny}{windy}"])
def test_labels_in_brackets_of_their_own_are_remarked(tmp_path: Path, label: str) -> None:
    file = cells(tmp_path, [label, label[: len(label) // 2]])
    assert f'the label "{label}" looks like several labels, each in brackets' in notes(file)
    assert pairs(file)[0][1] == label


def test_probabilities_of_labels_are_remarked(tmp_path: Path) -> None:
    said = notes(cells(tmp_path, ["good:0.8,bad:0.2", "good:0.3,bad:.7"]))
    assert "looks like a probability for each of several labels" in said
    assert "a probability" not in notes(cells(tmp_path, ["10:30", "at 1,5", "a=1", "version:2,patch:3"]))


@pytest.mark.parametrize("labels", [["0.0", "1.0"], ["0.0", "1.0", "0", "1"], ["1.5", "1", "5"]])
def test_a_number_with_a_point_is_one_number(tmp_path: Path, labels: list[str]) -> None:
    said = notes(cells(tmp_path, labels))
    assert "a number for each label" not in said and "joined" not in said


@pytest.mark.parametrize("label", ["'good'", '"good"', "“so so”", "„gut“", "'it''s'"])
def test_quotes_around_labels_are_remarked(tmp_path: Path, label: str) -> None:
    file = cells(tmp_path, [label, "bad"])
    assert pairs(file)[0][1] == label
    said = notes(file)
    assert f'the label "{label}" is in quotes, which were taken as a part of it; remove them' in said
    assert "in quotes" not in notes(file, labels=("bad", label)) and "in quotes" not in notes(
        cells(tmp_path, ["'90s", "a"])
    )
    both = cells(tmp_path, ["'a';'b'", "'a'"])
    assert """the label "'a'" is in quotes, which were taken as a part of it (and 1 more""" in notes(
        both, label_separator=";"
    )


@pytest.mark.parametrize(("share", "said"), [(6, True), (4, True), (2, False)])
def test_quotes_around_texts_are_remarked(tmp_path: Path, share: int, said: bool) -> None:
    held = [(f"'{t}'" if i % share or share == 6 else t, label) for i, (t, label) in enumerate(ROWS)]
    found = notes(save(tmp_path / "t.csv", joined([HEADER, *held], ",")))
    assert ("of 24 texts are in quotes (first: id " in found) == said


def test_lists_are_not_advised_to_be_cut(tmp_path: Path) -> None:
    rows = [{"text": t, "label": [("a, b", "a", "b")[i % 3]]} for i, (t, _) in enumerate(ROWS)]
    file = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    said = notes(file)
    assert 'joined by ","; if it is, write them as items of their own' in said and "--label-separator" not in said
    assert 'are lists, on which --label-separator "," has no effect' in notes(file, label_separator=",")


@pytest.mark.parametrize("label", ["{sports,art}", "[sports, art]", "(sports,art)"])
def test_brackets_that_a_separator_cuts_are_refused(tmp_path: Path, label: str) -> None:
    message = refused(cells(tmp_path, [label, "sports"]), label_separator=",")
    assert "row 1 has" in message and "brackets" in message and "JSON" in message
    assert pairs(cells(tmp_path, ["(a), (b)", "(a)"]), label_separator=",")[0][1] == "(a)+(b)"


def test_brackets_inside_a_cell_that_a_separator_cuts_are_remarked(tmp_path: Path) -> None:
    file = cells(tmp_path, ["vague (unclear, long), sports", "sports"])
    assert "cut within brackets in 12 rows (first: row 1" in notes(file, label_separator=",")


@pytest.mark.parametrize("label", ["{'a','b'}", "('a','b')", '{"a", "b"}', "('a',)", "set()", "frozenset({'a'})"])
def test_a_written_list_beside_a_plain_label_is_refused(tmp_path: Path, label: str) -> None:
    assert "has a list in its label cell" in refused(cells(tmp_path, [label, "a"]))


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        (["{'a', 'b'}", "set()", "{'b'}"], "a+b"),
        (["set()", "{'a'}"], ""),
        (["frozenset({'a'})", "frozenset()"], "a"),
        (["array(['a', 'b'], dtype=object)", "array(['b'])"], "a+b"),
        (["('a',)", "()", "('b', 'a')"], "a"),
    ],
)
def test_sets_and_arrays_written_out_are_lists(tmp_path: Path, labels: list[str], first: str) -> None:
    assert pairs(cells(tmp_path, labels))[0][1] == first


@pytest.mark.parametrize("label", ["(don't know)", "(unknown)", "[sic]", "o'clock (it's)"])
def test_a_remark_in_brackets_stays_a_label(tmp_path: Path, label: str) -> None:
    if not label.startswith("["):
        assert pairs(cells(tmp_path, [label, "a"]))[0][1] == label
    assert "in brackets" not in notes(cells(tmp_path, ["(unknown)", "a"]))


@pytest.mark.parametrize(
    "label", ['sports,"news, local"', "sports,'news, local'", '"news, local"', "“news, local”,sports"]
)
def test_quotes_that_a_separator_cuts_are_refused(tmp_path: Path, label: str) -> None:
    message = refused(cells(tmp_path, [label, "sports"]), label_separator=",")
    assert "row 1 has" in message and "quotes" in message and "JSON" in message
    assert pairs(cells(tmp_path, ["it's,that's", "it's"]), label_separator=",")[0][1] == "it's+that's"


def test_a_separator_that_is_escaped_is_refused(tmp_path: Path) -> None:
    message = refused(cells(tmp_path, ["a\\|b|c", "c"]), label_separator="|")
    assert "row 1 has" in message and "backslash" in message


@pytest.mark.parametrize("mark", ["\n", "&", "+", "；", "，", "、", " ", "-", "_", "\t", " and ", "•"])
def test_labels_joined_by_other_marks_are_remarked(tmp_path: Path, mark: str) -> None:
    said = notes(cells(tmp_path, [f"sunny{mark}windy", "sunny", "windy"]))
    assert "looks like several labels joined by" in said and "--label-separator" in said


@pytest.mark.parametrize("label", ["#a #b", "__label__a __label__b"])
def test_tags_joined_by_spaces_are_remarked(tmp_path: Path, label: str) -> None:
    assert 'looks like several labels joined by " "' in notes(cells(tmp_path, [label, "other", "more"]))


def test_labels_of_several_words_are_not_remarked(tmp_path: Path) -> None:
    labels = ["very good", "very bad", "good", "bad", "R&B", "R&D", "sci-fi", "non-fiction", "hip_hop", "C++"]
    assert "joined" not in notes(cells(tmp_path, labels))


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (["Price;Taste;", "Price;", "Taste;"], ";"),
        (["Price;Taste;", "Price", "Taste"], ";"),
        ([";Price;Taste", ";Taste;Price"], ";"),
        (["Price||Taste", "Price", "Taste"], "||"),
        (["Price;#Taste", "Price", "Taste"], ";#"),
        ([";#Price;#Taste;#", ";#Taste;#", ";#Price;#"], ";#"),
        (["joy#surprise", "anger#surprise", "joy", "anger"], "#"),
        (["joy::fear", "joy", "fear"], "::"),
        (["joy~fear", "joy", "fear"], "~"),
        (["joy -> fear", "joy", "fear"], "->"),
        (["joy<br>fear", "joy", "fear"], "<br>"),
        (["joy → fear", "joy", "fear"], "→"),
        (["joy > fear", "joy", "fear"], ">"),
        (["Freude und Angst", "Freude", "Angst"], " und "),
        (["joie et peur", "joie", "peur"], " et "),
        (["joy or fear", "joy", "fear"], " or "),
    ],
)
def test_labels_joined_as_other_programs_do_are_remarked(tmp_path: Path, labels: list[str], mark: str) -> None:
    assert f'looks like several labels joined by "{mark}"; if it is' in notes(cells(tmp_path, labels))


@pytest.mark.parametrize("mark", [";", "|", ","])
def test_a_mark_behind_every_label_is_remarked(tmp_path: Path, mark: str) -> None:
    said = notes(cells(tmp_path, [f"Price{mark}", f"Taste{mark}"]))
    assert f'every label ends with "{mark}"' in said and "--label-separator" in said
    assert "every label" not in notes(cells(tmp_path, [f"Price{mark}", "Taste"]))


@pytest.mark.parametrize(
    "labels",
    [
        ["C", "C#", "F#", "C++"],
        ["issue #1", "issue #2", "task #1", "task #2"],
        ["A#1", "A#2", "B#1"],
        ["food > soup", "food > bread", "drink > tea"],
        ["a.b", "b.c", "c.a"],
        ["good", "so-so", "so, so", "bad"],
        ["yes!", "yes?", "no"],
        ["1:1", "1:2", "2:1"],
        ["don't know", "can't say", "yes"],
    ],
)
def test_labels_with_signs_in_their_names_are_not_remarked(tmp_path: Path, labels: list[str]) -> None:
    said = notes(cells(tmp_path, labels))
    assert "joined" not in said and "every label" not in said


def test_separators_of_several_characters_cut(tmp_path: Path) -> None:
    file = cells(tmp_path, ["Price;#Taste", "Price"])
    assert pairs(file, label_separator=";#")[0][1] == "Price+Taste"
    file = cells(tmp_path, ["Price;Taste;", "Price;"])
    assert pairs(file, label_separator=";")[0][1] == "Price+Taste" and table(file, label_separator=";").labels == (
        "Price",
        "Taste",
    )


# The option --label-separator


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("tab", "\t"),
        ("\\t", "\t"),
        ("newline", "\n"),
        ("\\n", "\n"),
        ("semicolon", ";"),
        ("pipe", "|"),
        ("Comma", ","),
        ("space", " "),
    ],
)
def test_separators_by_name(tmp_path: Path, name: str, mark: str) -> None:
    file = cells(tmp_path, [f"table{mark}chair", "chair"])
    assert pairs(file, label_separator=name)[0][1] == "chair+table"


def test_a_word_that_cuts_words_is_remarked(tmp_path: Path) -> None:
    file = cells(tmp_path, ["sand and land", "sand"])
    assert 'the --label-separator "and" was found inside a word in 24 rows' in notes(file, label_separator="and")
    assert "inside a word" not in notes(cells(tmp_path, ["sun and rain", "rain"]), label_separator="and")


def test_an_empty_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="must not be empty"):
        table(cells(tmp_path, LABELS), label_separator="")


# Cells without labels, and numbers written in two ways


def test_empty_cells_of_several_labels_are_counted(tmp_path: Path) -> None:
    said = notes(cells(tmp_path, ["sunny;windy", "", "windy"]), label_separator=";")
    assert "an empty label cell was read as a text without labels in 8 rows (first: row 2)" in said
    assert "empty label cell" in notes(cells(tmp_path, ["['a']", " ", "['b']"]))
    assert "empty label cell" not in notes(cells(tmp_path, ["['a']", "[]", "['b']"]))


@pytest.mark.parametrize(
    "labels",
    [
        ("1", "1,0"),
        ("2,5", "2,50"),
        ("1,000", "1000"),
        ("1.000", "1000"),
        ("1 000", "1000"),
        ("1.234,5", "1234.5"),
        ("1", "01"),
        ("2", "2.0"),
        ("1'000", "1000"),
        ("-1", "\u22121"),
        ("1", "+1"),
        ("1000", "1,00E+03"),
    ],
)
def test_a_number_written_in_two_ways_is_remarked(tmp_path: Path, labels: tuple[str, str]) -> None:
    assert "same number and yet different labels" in notes(cells(tmp_path, labels))


@pytest.mark.parametrize(
    "labels",
    [
        ("12345678901234567890", "12345678901234567891"),
        ("0.1", "0.10000000000000000001"),
        ("1", "1e400"),
        ("2,5", "25"),
    ],
)
def test_different_numbers_are_not_remarked(tmp_path: Path, labels: tuple[str, str]) -> None:
    assert "same number" not in notes(cells(tmp_path, labels))
