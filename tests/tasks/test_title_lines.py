"""A title above a table's header: the message says so, and where the header seems to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.text_file import read_texts

from .tables import HEADER, ROWS, joined, pairs, refused, save

TITLE = "My survey export 2024"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("above", "first", "header"),
    [(f"{TITLE}\n", 1, 2), (f"\n{TITLE}\n", 2, 3), (f"{TITLE}\n\n", 1, 3), (f"{TITLE}\nof May\n\n", 1, 4)],
)
def test_a_title_is_not_the_header(tmp_path: Path, separator: str, above: str, first: int, header: int) -> None:
    said = refused(save(tmp_path / "t.csv", above + joined([HEADER, *ROWS], separator)))
    assert f'line {first} ("{TITLE}") is not the header, which seems to be line {header}; delete what stands' in said
    assert "quotes" not in said and "--separator" not in said


@pytest.mark.parametrize("title", ["Survey, of 2024", "Survey; 2024", "Survey | 2024", "a, b, c, d", "Survey,,", ",,"])
def test_a_title_with_separators(tmp_path: Path, title: str) -> None:
    rows = [(str(i), *row) for i, row in enumerate(ROWS)]
    file = save(tmp_path / "t.csv", f"{title}\n" + joined([("nr", *HEADER), *rows], ","))
    for options in ({}, {"separator": ","}):
        assert "line 1 (" in refused(file, **options)
        assert "seems to be line 2" in refused(file, **options)


def test_a_title_above_columns_that_the_user_names(tmp_path: Path) -> None:
    file = save(tmp_path / "t.csv", f"{TITLE}\n" + joined([("Comment", "Mood"), *ROWS], ","))
    assert "not the header, which seems to be line 2" in refused(file, text_column="Comment", label_column="Mood")
    with pytest.raises(DataError, match="not the header, which seems to be line 2"):
        read_texts(file, TaskOptions(text_column="Comment"))


def test_a_title_above_unknown_columns_is_a_guess_that_says_so(tmp_path: Path) -> None:
    file = save(tmp_path / "t.csv", f"{TITLE}\n" + joined([("comment", "mood"), *ROWS], ","))
    said = refused(file)
    assert f'line 1 ("{TITLE}") has one cell, and those below have more; if it is a title, delete it' in said
    assert "it seems to be line 2" in said and '"quotes"' in said


@pytest.mark.parametrize("title", [f"{TITLE},,", f",{TITLE},"])
def test_a_title_that_a_spreadsheet_filled_up(title: str, tmp_path: Path) -> None:
    """As many separators as every other line has: the title is a header with one filled cell."""
    rows = [(str(i), *row) for i, row in enumerate(ROWS)]
    said = refused(save(tmp_path / "t.csv", f"{title}\n" + joined([("nr", "comment", "mood"), *rows], ",")))
    assert f'line 1 ("{TITLE}") has one filled cell, and those below have more; if it is a title, delete it' in said
    assert "it seems to be line 2" in said and "--separator" not in said


def test_a_header_with_one_column_and_a_separator_at_the_end_is_no_title(tmp_path: Path) -> None:
    said = refused(save(tmp_path / "t.csv", "comment,\n" + "".join(f"{text},\n" for text, _ in ROWS)))
    assert "title" not in said and "Known: comment" in said


def test_a_title_that_became_the_names_of_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    columns = {TITLE: [HEADER[0], *(t for t, _ in ROWS)], "Unnamed: 1": [HEADER[1], *(label for _, label in ROWS)]}
    pq.write_table(pa.table(columns), file)
    assert f'the row of column names ("{TITLE} Unnamed: 1") is not the header, which seems to be row 1' in refused(file)


def test_names_that_are_values_are_no_header(tmp_path: Path) -> None:
    rows = [(t, ("text", "picture")[i % 2]) for i, (t, _) in enumerate(ROWS)]
    said = refused(save(tmp_path / "t.csv", joined([("content", "kind"), *rows], ",")))
    assert "not the header" not in said and "--text-column" in said


@pytest.mark.parametrize("options", [{"label_column": "mood"}, {"text_column": "2", "label_column": "mood"}])
def test_one_value_that_is_a_name_makes_no_header(tmp_path: Path, options: dict[str, str]) -> None:
    rows = [(str(i), t, "text" if i == 3 else "picture", label) for i, (t, label) in enumerate(ROWS)]
    file = save(tmp_path / "t.csv", joined([("number", "comment", "kind", "mood"), *rows], ","))
    said = refused(file, **options)
    assert "not the header" not in said and "--text-column" in said and "comment" in said


def test_separators_inside_texts_of_one_column_still_point_at_quotes(tmp_path: Path) -> None:
    file = save(tmp_path / "t.csv", "text\nthick, hot soup\nsoup\n")
    with pytest.raises(DataError, match='put "quotes" around cells'):
        read_texts(file, TaskOptions())


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("number", [str, lambda i: f"{i // 2}.{i % 2}", lambda i: f"{9 * i}"])
def test_row_names_of_r_are_named(tmp_path: Path, separator: str, number: Callable[[int], str]) -> None:
    header = separator.join(f'"{name}"' for name in HEADER)
    lines = [separator.join(f'"{cell}"' for cell in (number(i + 1), *row)) for i, row in enumerate(ROWS)]
    file = save(tmp_path / "t.csv", "\n".join([header, *lines]) + "\n")
    said = refused(file, **({"separator": "space"} if separator == " " else {}))
    assert "as R's write.table writes row names; write the file with row.names = FALSE" in said
    assert "quotes" not in said and "--separator" not in said


def test_other_cells_beyond_the_header_are_no_row_names(tmp_path: Path) -> None:
    for rows in (
        [(f"5, {text}", label) for text, label in ROWS],
        [(f"{text}, really", label) for text, label in ROWS],
        [(f"{i}, {text}" if i else text, label) for i, (text, label) in enumerate(ROWS)],
    ):
        said = refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
        assert 'put "quotes" around cells' in said and "write.table" not in said


def test_a_header_of_quoted_names_between_spaces(tmp_path: Path) -> None:
    lines = [" ".join(f'"{cell}"' for cell in row) for row in (HEADER, *ROWS)]
    file = save(tmp_path / "t.csv", "\n".join(lines))
    assert "name what separates the columns, --separator space" in refused(file)
    assert pairs(file, separator="space") == ROWS
