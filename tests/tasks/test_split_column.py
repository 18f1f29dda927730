"""--split-column: rows go to the split that they name; a column that seems to say so is not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tables import joined, refused, save, table

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
