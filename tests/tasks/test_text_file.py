"""Files of texts to predict for: a text is a line or a row, and none vanishes or splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.separated import SEPARATORS
from semtune.tasks.text_file import read_texts

from .tables import HEADER, ROWS, joined, save

ODD = ["first\u2028still the first", "a\x0bb\x0cc", "d \x85 e\x1cf", "", "fifth"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_ends_end_a_text(tmp_path: Path, end: str) -> None:
    texts, notes = read_texts(save(tmp_path / "t.txt", end.join(ODD) + end), TaskOptions())
    assert texts == ODD
    assert notes == (f"{tmp_path / 't.txt'}: line 4 is blank and gets no prediction",)
    assert read_texts(save(tmp_path / "texts", "one\n\n \nthree"), TaskOptions())[0] == ["one", "", "", "three"]


def test_lines_that_show_nothing_are_blank(tmp_path: Path) -> None:
    texts, (note,) = read_texts(save(tmp_path / "t.txt", "a\n\u200e\n \u200e\u200b\n\u2800\n⠓⠊\n"), TaskOptions())
    assert texts == ["a", "", "", "", "⠓⠊"] and "3 lines are blank and get no prediction (first: line 2)" in note


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = save(tmp_path / "t.txt", "“naïve”\nzwei\n", encoding)
    if encoding != "utf-8-sig":
        with pytest.raises(DataError, match=f"--encoding {encoding}"):
            read_texts(path, TaskOptions())
    assert read_texts(path, TaskOptions(encoding=encoding))[0] == ["“naïve”", "zwei"]


def test_a_table_gives_its_column(tmp_path: Path) -> None:
    texts = [text for text, _ in ROWS]
    assert read_texts(save(tmp_path / "t.csv", joined([HEADER, *ROWS], ";")), TaskOptions())[0] == texts
    rows = [{"comment": text} for text in ["", *texts]]
    path = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r'no column "text" .*--text-column'):
        read_texts(path, TaskOptions())
    assert read_texts(path, TaskOptions(), ("comment", "text")) == read_texts(path, TaskOptions(text_column="comment"))
    found, notes = read_texts(path, TaskOptions(text_column="comment"))
    assert found == ["", *texts] and "row 1 is blank" in notes[0]


@pytest.mark.parametrize("mark", ["\t", ";", ","])
def test_a_txt_table_is_read_as_the_run_read_its_own(tmp_path: Path, mark: str) -> None:
    path = save(tmp_path / "new.txt", "\n" + joined([HEADER, *ROWS], mark))
    texts, notes = read_texts(path, TaskOptions(), own_separators=SEPARATORS)
    assert texts == [text for text, _ in ROWS]
    assert any('read as a table, as its first line names the column "text"' in note for note in notes)
    plain = save(tmp_path / "plain.txt", "one text\nanother text\n")
    assert read_texts(plain, TaskOptions(), own_separators=SEPARATORS) == (["one text", "another text"], ())
    renamed = save(tmp_path / "renamed.txt", joined([("comment", "mood"), *ROWS], mark))
    assert read_texts(renamed, TaskOptions(), ("comment", "text"), own_separators=SEPARATORS)[0] == texts


def test_a_separator_of_the_run_is_that_of_its_txt_tables(tmp_path: Path) -> None:
    path = save(tmp_path / "new.txt", joined([HEADER, *ROWS], "::"))
    assert read_texts(path, TaskOptions(), own_separators=("::",))[0] == [text for text, _ in ROWS]


@pytest.mark.parametrize("name", ["new.txt", "new", "new.dat"])
def test_lines_that_look_like_a_table_are_remarked(tmp_path: Path, name: str) -> None:
    texts, notes = read_texts(save(tmp_path / name, joined([HEADER, *ROWS], "\t")), TaskOptions())
    assert len(texts) == len(ROWS) + 1
    assert any('line 1 ("text\\tlabel") looks like a header' in note and "--text-column" in note for note in notes)
    texts, notes = read_texts(save(tmp_path / name, joined(ROWS, "\t")), TaskOptions(), own_separators=SEPARATORS)
    assert len(texts) == len(ROWS)
    assert any("each line has 2 cells separated by tabs, and was read as one text" in note for note in notes)
    alone = read_texts(save(tmp_path / name, "text\none\ntwo\n"), TaskOptions())[1]
    assert any('line 1 ("text") looks like a header' in note for note in alone)


def test_lines_with_commas_are_not_remarked(tmp_path: Path) -> None:
    path = save(tmp_path / "t.txt", "a text, label it\nanother, text\na\tb\nlast\n")
    assert read_texts(path, TaskOptions())[1] == ()


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("text,id\na,1\n,\nb,2\n,\n,\n", ["a", "", "b"]),
        ("text\na\n\nb\n\n", ["a", "", "b"]),
        ('text\na\n""\nb\n', ["a", "", "b"]),
        ("text,id\na,1\n\nb,2\n", ["a", "b"]),
        ("text,id\n,\nb,2\n", ["", "b"]),
        ("text\nhello\ntext\nworld\n", ["hello", "text", "world"]),
        ("text\n--\nhello\n", ["--", "hello"]),
    ],
)
def test_a_blank_row_of_a_table_keeps_its_place(tmp_path: Path, text: str, texts: list[str]) -> None:
    found, notes = read_texts(save(tmp_path / "t.csv", text), TaskOptions())
    assert found == texts
    assert any("is blank and gets no prediction" in note for note in notes) == ("" in texts)


def test_quotes_are_read_as_in_the_runs_own_table(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", 'text,label\n"one",a\n"two",b\n')
    assert read_texts(path, TaskOptions())[0] == ["one", "two"]
    texts, notes = read_texts(path, TaskOptions(), own_quoting="none")
    assert texts == ['"one"', '"two"']
    assert notes == (f"{path}: quotes were read as those of the run's own table were, with --quoting none",)
    assert read_texts(path, TaskOptions(quoting="csv"), own_quoting="none") == (["one", "two"], ())
    other = save(tmp_path / "t.jsonl", '{"text": "one"}\n')
    assert read_texts(other, TaskOptions(), own_quoting="none") == (["one"], ())
