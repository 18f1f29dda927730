"""Numbers and empty items in label lists that are written out as text: what a cell says, or a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tables import notes, save, table


def both(tmp_path: Path, cell: str) -> tuple[tuple[str, ...], str]:
    """Labels and notes of a table whose cells are this list and `["x"]`."""
    quoted = '"' + cell.replace('"', '""') + '"'
    rows = [f"soup {n}," + (quoted if n % 2 else '"[""x""]"') for n in range(20)]
    path = save(tmp_path / "t.csv", "\n".join(["text,label", *rows]) + "\n")
    return table(path).labels, notes(path)


@pytest.mark.parametrize(
    ("cell", "written", "read"),
    [
        ("[1.10, 2]", "1.10", "1.1"), ('("a", 2.0)', "2.0", "2"), ("{1.1, 1.10}", "1.10", "1.1"),
        ("[1e2]", "1e2", "100"), ("[-1.50]", "-1.50", "-1.5"), ("['é', 1.10]", "1.10", "1.1"),
    ],
)  # fmt: skip
def test_numbers_that_change_are_said(tmp_path: Path, cell: str, written: str, read: str) -> None:
    labels, said = both(tmp_path, cell)
    assert read in labels
    assert f"the label {written} was read as the number that it is, {read}," in said


@pytest.mark.parametrize("cell", ["['a', 1]", '["a", "1.10"]', "{'a', 'b'}"])
def test_what_stays_is_not_said(tmp_path: Path, cell: str) -> None:
    assert "number that it is" not in both(tmp_path, cell)[1]


@pytest.mark.parametrize("cell", ['["a", null, ""]', "['a', None]"])
def test_empty_items_are_said(tmp_path: Path, cell: str) -> None:
    labels, said = both(tmp_path, cell)
    assert labels == ("a", "x")
    assert "an empty item of a label list was left out" in said
