"""Lines that stand in quotes as a whole are no rows, whatever quotes mean; labels with half a pair are noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.records import TaskOptions
from semtune.tasks.text_file import read_texts

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save

SAID = "each line stands in quotes as a whole"


@pytest.mark.parametrize("options", [{}, {"quoting": "none"}, {"quoting": "csv"}, {"separator": "{}"}])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", ['"{}"', "{}"])
def test_lines_in_quotes_are_refused(tmp_path: Path, header: str, separator: str, options: dict[str, Any]) -> None:
    lines = [header.format(separator.join(HEADER)), *(f'"{t} ""so""{separator}{label}"' for t, label in ROWS)]
    file = save(tmp_path / "t.csv", "\n".join(lines) + "\n")
    options = {name: separator if value == "{}" else value for name, value in options.items()}
    assert SAID in refused(file, **options)


@pytest.mark.parametrize("text", ['text\n"a, b"\n"c, d"\n', '"text"\n"a, b"\n', '"Comment, free"\n"a, b"\n'])
def test_one_column_of_quoted_texts_is_no_such_table(tmp_path: Path, text: str) -> None:
    file = save(tmp_path / "t.csv", text)
    column = text.partition("\n")[0].strip('"')
    assert read_texts(file, TaskOptions(text_column=column if column != "text" else None))[0][0] == "a, b"


@pytest.mark.parametrize("quote", ['"{}"', "{}"])
def test_quoted_cells_are_read(tmp_path: Path, quote: str) -> None:
    rows = [(quote.format(t + ", so"), quote.format(label)) for t, label in ROWS]
    file = save(tmp_path / "t.csv", joined([HEADER, *rows], ";"))
    assert pairs(file) == [(f"{t}, so", label) for t, label in ROWS]


@pytest.mark.parametrize(("label", "noted"), [('{}"', True), ('"{}', True), ('{} 32"', False), ('the "{}"', False)])
def test_half_a_pair_of_quotes_is_noted(tmp_path: Path, label: str, noted: bool) -> None:
    rows = [(t, label.format(own)) for t, own in ROWS]
    file = save(tmp_path / "t.csv", joined([HEADER, *rows], ";"))
    assert ("has a quote at one end alone, and so for 2 more" in notes(file, quoting="none")) == noted
