"""Files of texts to predict for: a text is a line or a row, and none vanishes or splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.text_file import read_texts

from .tables import HEADER, ROWS, joined, save

ODD = ["first\u2028still the first", "a\x0bb\x0cc", "d \x85 e\x1cf", "", "fifth"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_ends_end_a_text(tmp_path: Path, end: str) -> None:
    texts, notes = read_texts(save(tmp_path / "t.txt", end.join(ODD) + end), TaskOptions())
    assert texts == ODD
    assert notes == (f"{tmp_path / 't.txt'}: line 4 is blank and gets no prediction",)
    assert read_texts(save(tmp_path / "texts", "one\n\n \nthree"), TaskOptions())[0] == ["one", "", "", "three"]


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
