"""--split-column: rows go to the split that they name; a column that seems to say so is not passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .tables import joined, notes, refused, save, table

WORDS = ["train"] * 12 + ["dev"] * 6 + ["test"] * 6
LABELS = ("sunny", "cloudy")


def rows(words: list[str]) -> list[tuple[str, ...]]:
    return [(f"the harbour felt warm number {i}", LABELS[i % 2], word) for i, word in enumerate(words)]


def saved(folder: Path, words: list[str], column: str = "split") -> Path:
    return save(folder / "t.csv", joined([("text", "label", column), *rows(words)], ","))


@pytest.mark.parametrize("spelling", [str, str.upper, lambda word: {"dev": "validation"}.get(word, f" {word} ")])
def test_rows_go_to_the_split_that_they_name(tmp_path: Path, spelling) -> None:  # type: ignore[no-untyped-def]
    task = table(saved(tmp_path, [spelling(word) for word in WORDS]), split_column="split")
    for split in ("train", "dev", "test"):
        assert [e.text for e in task.load(split)] == [text for text, _, word in rows(WORDS) if word == split]
    assert task.made_splits == ()


@pytest.mark.parametrize("two", ["dev validation", "valid development", "Entwicklung Validierungsdaten", "DEV val"])
def test_dev_and_validation_in_one_column_are_two_splits(tmp_path: Path, two: str) -> None:
    one, other = two.split()
    words = [*["train"] * 12, *[one] * 5, *[other], *["test"] * 6]
    said = refused(saved(tmp_path, words), split_column="split")
    assert f'says "{one.casefold()}" (5 rows) and "{other.casefold()}" (1 row), which are both dev' in said


@pytest.mark.parametrize("two", ["test|Test set", "val|validation", "train|Training", "prueba|test"])
def test_spellings_of_one_split_are_counted(tmp_path: Path, two: str) -> None:
    one, other = two.split("|")
    words = [*["train"] * 12, *["dev"] * 6 * ("val" not in two), *[one] * 5, *[other] * 6]
    said = "\n".join(table(saved(tmp_path, words), split_column="split").notes)
    assert f'"{other.casefold()}" (6 rows): all were taken for' in said
    cases = [*["train"] * 12, *["Test", "TEST ", "test"] * 4]
    assert "were taken for" not in "\n".join(table(saved(tmp_path, cases), split_column="split").notes)


def test_a_split_that_no_row_names_is_made(tmp_path: Path) -> None:
    task = table(saved(tmp_path, ["train"] * 18 + ["test"] * 6), split_column="split")
    assert len(task.load("test")) == 6
    assert task.made_splits == ("dev",)
    assert len(task.load("train")) + len(task.load("dev")) == 18


def test_test_rows_may_lack_labels(tmp_path: Path) -> None:
    hidden = [(text, "" if word == "test" else label, word) for text, label, word in rows(WORDS)]
    file = save(tmp_path / "t.csv", joined([("text", "label", "part"), *hidden], ","))
    task = table(file, split_column="part")
    assert [e.target for e in task.load("test")] == [None] * 6
    assert all(e.target is not None for e in task.load("dev"))


@pytest.mark.parametrize("column", ["split", "Set", "partition"])
def test_a_column_that_seems_to_name_splits_is_not_passed_over(tmp_path: Path, column: str) -> None:
    said = refused(saved(tmp_path, WORDS, column))
    assert f'has a column "{column}", which says train and dev and test' in said
    assert f"--split-column {column}" in said


@pytest.mark.parametrize(
    ("words", "column"),
    [(["train"] * 24, "split"), (["1", "2", "3"] * 8, "fold"), (["train", "test", "x"] * 8, "set"), (WORDS, "note")],
)
def test_a_column_of_something_else_is_none(tmp_path: Path, words: list[str], column: str) -> None:
    assert len(table(saved(tmp_path, words, column)).load("train")) > 12


def test_a_column_of_labels_is_none(tmp_path: Path) -> None:
    file = save(tmp_path / "t.csv", joined([("text", "set"), *((t, w) for t, _, w in rows(WORDS))], ","))
    assert table(file, label_column="set").labels == ("dev", "test", "train")


def test_mistakes_are_said(tmp_path: Path) -> None:
    file = saved(tmp_path, [*WORDS, "holdout"])
    said = refused(file, split_column="split")
    assert 'row 25 has "holdout" in column "split", where train, dev (or validation) or test is needed' in said
    assert 'row 25 has ""' in refused(saved(tmp_path, [*WORDS, ""]), split_column="split")
    assert 'has no column "part" (name it with --split-column)' in refused(saved(tmp_path, WORDS), split_column="part")
    assert "has no row whose column" in refused(saved(tmp_path, ["test"] * 9), split_column="split")
    other = save(tmp_path / "dev.csv", joined([("text", "label"), ("some other text", "sunny")], ","))
    assert "--split-column split says which split" in refused(file, split_column="split", dev_data=str(other))


def of_column(folder: Path, column: str, values: list[object]) -> Path:
    """JSON lines with `values` in a column."""
    found = [{"text": t, "label": b, column: value} for (t, b, _), value in zip(rows(WORDS), values, strict=True)]
    return save(folder / "t.jsonl", "\n".join(map(json.dumps, found)))


@pytest.mark.parametrize(
    ("column", "words", "advice"),
    [
        ("split", ["train"] * 12 + ["test"] * 10 + ["", ""], "says train and test and nothing in 2 rows"),
        ("split", ["train"] * 14 + ["eval"] * 10, 'write train, dev or test where it says "eval"'),
        ("split", ["Training"] * 14 + ["Testing"] * 10, "use it with --split-column split"),
        ("split", ["training"] * 14 + ["evaluation"] * 10, 'where it says "evaluation"'),
        ("split", ["train"] * 14 + ["holdout"] * 10, 'where it says "holdout"'),
        ("split", ["train"] * 14 + ["test1"] * 10, 'where it says "test1"'),
        ("split", ["train"] * 8 + ["test"] * 8 + ["unsupervised"] * 8, 'where it says "unsupervised", or remove these'),
        ("Usage", ["Training"] * 14 + ["PublicTest", "PrivateTest"] * 5, 'where it says "publictest", "privatetest"'),
        ("Set", ["train"] * 14 + ["test_in"] * 10, 'where it says "test_in"'),
        ("split", ["train.csv"] * 14 + ["test.csv"] * 10, 'where it says "train.csv", "test.csv"'),
        ("dataset", ["imdb-train"] * 14 + ["imdb-test"] * 10, 'where it says "imdb-train", "imdb-test"'),
        ("set", ["Train set"] * 14 + ["Test set"] * 10, "says train and test"),
        ("data_split", WORDS, "use it with --split-column data_split"),
        ("TrainTest", WORDS, "use it with --split-column TrainTest"),
        ("ML use", WORDS, 'use it with --split-column "ML use"'),
        ("Split_1", WORDS, "use it with --split-column Split_1"),
        ("is_test", [False] * 18 + [True] * 6, "--split-column is_test (true: test, false: train)"),
        ("is_train", [1] * 18 + [0] * 6, "--split-column is_train (true: train, false: test)"),
        ("isValidation", ["no"] * 18 + ["yes"] * 6, "(true: dev, false: train)"),
        ("in_test_set", ["", "x"] * 12, "(true: test, false: train)"),
        ("used_for_testing", ["FALSE"] * 18 + ["TRUE"] * 6, "--split-column used_for_testing (true: test, false:"),
        ("use_in_training", [0, 1] * 12, "(true: train, false: test)"),
        ("ist_test", ["nein", "ja"] * 12, "(true: test, false: train)"),
        ("conjunto", ["entrenamiento"] * 14 + ["prueba"] * 10, "says train and test, but all rows would be taken for"),
        ("jeu", ["apprentissage"] * 14 + ["test"] * 10, "use it with --split-column jeu"),
        ("jeu", ["Entraînement", "jeu de validation", "jeu de test"] * 8, "says train and dev and test"),
        ("Datensatz", ["Training", "Validierung", "Test"] * 8, "says train and dev and test"),
        ("split", ["Trainingsdaten"] * 14 + ["Testdaten"] * 10, "says train and test"),
        ("conjunto", ["treino", "validação", "teste"] * 8, "says train and dev and test"),
        ("insieme", ["addestramento"] * 14 + ["convalida"] * 10, "says train and dev"),
        ("split", ["训练集"] * 14 + ["测试集"] * 10, "says train and test"),
        ("cohort", ["derivation"] * 14 + ["validation"] * 10, '("derivation", "validation"), but all rows'),
        ("cohort", ["Development"] * 14 + ["Validation"] * 10, "write train, dev or test there and use it with"),
    ],
)
def test_a_column_that_says_so_in_other_words_is_refused(
    tmp_path: Path, column: str, words: list[object], advice: str
) -> None:
    said = refused(of_column(tmp_path, column, words))
    assert f'has a column "{column}"' in said and advice in said and "or rename it" in said


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("is_valid", [False] * 18 + [True] * 6, "--split-column is_valid (true: dev, false: train)"),
        ("test", [0] * 18 + [1] * 6, "--split-column test (true: test, false: train)"),
        ("kfold", [0, 1, 2, 3] * 6, "write train, dev or test into a column and use it with --split-column NAME"),
        ("split", [0, 1] * 12, "write train, dev or test into a column"),
        ("partition", ["oppilas", "koe"] * 12, 'has a column "partition" ("oppilas", "koe")'),
        ("test_flag", [0] * 18 + [1] * 6, "--split-column test_flag (true: test, false: train)"),
        ("flag_test", [0] * 18 + [1] * 6, "--split-column flag_test (true: test, false: train)"),
        ("nota", ["entrenamiento", "prueba"] * 12, "use it with --split-column nota"),
        ("note", WORDS, "use it with --split-column note"),
        ("file", ["train.csv"] * 14 + ["test.csv"] * 10, 'write train, dev or test where it says "train.csv"'),
        ("set", ["train", "test", "x"] * 8, "which is not read"),
    ],
)
def test_a_column_that_may_say_so_is_noted(tmp_path: Path, column: str, values: list[object], said: str) -> None:
    found = notes(of_column(tmp_path, column, values))
    assert said in found and "if it says which split a row belongs to" in found


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("set", ["box", "bag", "tin"] * 8),
        ("dataset", ["imdb", "yelp"] * 12),
        ("is_valid", [True] * 24),
        ("valid", ["2021", "2022"] * 12),
        ("role", ["teacher", "test driver", "train driver"] * 8),
        ("event", ["contest", "train ride", "protest"] * 8),
        ("transport", ["train", "bus", "tram"] * 8),
        ("split", [f"a sentence that is about test number {i}" for i in range(24)]),
        ("split", [str(i) for i in range(24)]),
        ("part", [1, 2, 3] * 8),
        ("test_score", [0, 1] * 12),
        ("contest", [0, 1] * 12),
        ("phase", ["discovery", "growth"] * 12),
        ("env", ["development", "production"] * 12),
        ("set", ["teste", "nota"] * 12),
        ("flag", [0, 1] * 12),
        ("used", [0, 1] * 12),
    ],
)
def test_honest_columns_are_not_remarked(tmp_path: Path, column: str, values: list[object]) -> None:
    assert "split-column" not in notes(of_column(tmp_path, column, values))


def test_a_column_of_true_and_false_is_used(tmp_path: Path) -> None:
    task = table(of_column(tmp_path, "is_test", [False] * 18 + [True] * 6), split_column="is_test")
    assert [e.text for e in task.load("test")] == [text for text, _, _ in rows(WORDS)[18:]]
    assert task.made_splits == ("dev",)
    assert 'rows whose column "is_test" is true were taken for test, the others for train' in "\n".join(task.notes)
    task = table(of_column(tmp_path, "is_valid", [0, 1] * 12), split_column="is_valid")
    assert len(task.load("dev")) == 12 and task.made_splits == ("test",)
    words = ["Trainingsdaten"] * 12 + ["Validierungsdaten"] * 6 + ["Testmenge"] * 6
    assert len(table(of_column(tmp_path, "set", list(words)), split_column="set").load("dev")) == 6
    words = ["Train set"] * 12 + ["Development set"] * 6 + ["Testing"] * 6
    assert len(table(of_column(tmp_path, "set", list(words)), split_column="set").load("dev")) == 6


def test_a_column_of_true_and_false_may_be_false_throughout(tmp_path: Path) -> None:
    task = table(of_column(tmp_path, "is_test", [False] * 24), split_column="is_test")
    assert task.data_notes and len(task.load("train")) < 24, "dev and test are made"
    some = of_column(tmp_path, "is_test", [False] * 12 + [None] * 6 + [True] * 6)
    said = "\n".join(table(some, split_column="is_test").notes)
    assert "taken for test, the others for train (6 of them empty cells)" in said
