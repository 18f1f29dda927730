"""Dates of a table's texts: one form in, one form out, and they count as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.runs.fingerprints import data_fingerprint
from semtune.tasks.table import Table

ROWS = ["2021-03-05,soup,good", "2021-03-05T23:59:00Z,bread,bad", ",stone,good", "20210306,salt,bad"]


def table(folder: Path, rows: list[str], **options) -> Table:
    file = folder / "t.csv"
    file.write_text("\n".join(["day,text,label", *rows]), encoding="utf-8")
    return Table(TaskOptions(data=str(file), dev_fraction=0.3, test_fraction=0.0, **options))


def test_dates_are_read_from_the_named_column(tmp_path: Path) -> None:
    task = table(tmp_path, ROWS * 3, date_column="day")
    dates = {e.text: e.date for split in ("train", "dev") for e in task.load(split)}
    assert dates == {"soup": "2021-03-05", "bread": "2021-03-05", "stone": None, "salt": "2021-03-06"}
    plain = table(tmp_path, ROWS * 3)
    assert {e.date for e in plain.load("train")} == {None}


def test_dates_are_part_of_the_datas_fingerprint(tmp_path: Path) -> None:
    def fingerprint(task: Table) -> str:
        task.load("train")
        from semtune.records import TargetSpace

        return data_fingerprint(TargetSpace("single_label", task.labels), {"train": task.load("train")})

    dated = fingerprint(table(tmp_path, ROWS * 3, date_column="day"))
    assert dated != fingerprint(table(tmp_path, ROWS * 3))


def test_other_forms_and_a_missing_column_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'row \d+ has the date "5 March"'):
        table(tmp_path, ["5 March,soup,good", "2021-03-05,bread,bad"] * 3, date_column="day").load("train")
    with pytest.raises(DataError, match=r'has the date "1612123191000", which is not of the form'):
        table(tmp_path, ["1612123191000,soup,good", "1612123191001,bread,bad"] * 3, date_column="day").load("train")
    with pytest.raises(DataError, match="--date-column"):
        table(tmp_path, ROWS * 3, date_column="when").load("train")
