"""Encodings, files that hold no text, and characters that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save, table


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS], "\t"), encoding)
    if encoding != "utf-8-sig":
        assert f"name its encoding with --encoding {encoding}." in refused(path)
        assert f"name its encoding with --encoding {encoding}." in refused(path, encoding="cp1252")
    assert pairs(path, encoding=encoding) == ROWS


def test_utf16_without_a_mark(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS], ","), "utf-16-be")
    assert "--encoding utf-16-be" in refused(path)
    assert pairs(path, encoding="utf-16-be") == ROWS


@pytest.mark.parametrize(("written", "named"), [("utf-16-le", "utf-16-be"), ("utf-16-be", "UTF-16LE")])
def test_utf16_in_the_other_order(tmp_path: Path, written: str, named: str) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS], ","), written)
    assert f"in the other order; try --encoding {written}." in refused(path, encoding=named)


def test_utf8_is_not_read_as_utf16(tmp_path: Path) -> None:
    text = joined([HEADER, *ROWS], ",")
    path = save(tmp_path / "t.csv", text + " " * (len(text) % 4))
    assert "is UTF-8 text, not UTF-16; leave out --encoding" in refused(path, encoding="utf-16")


def test_windows_quotation_marks(tmp_path: Path) -> None:
    rows = [(f"\u201c{text}\u201d – naïve", label) for text, label in ROWS]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ","), "cp1252")
    assert "--encoding cp1252" in refused(path)
    assert pairs(path, encoding="cp1252") == rows
    assert "is it --encoding cp1252?" in notes(path, encoding="latin-1")
    path = save(tmp_path / "t.csv", joined([HEADER, *((f"naïve {t}", b) for t, b in ROWS)], ","))
    assert "bytes are valid UTF-8" in notes(path, encoding="cp1252")


def test_mixed_encodings_name_the_line(tmp_path: Path) -> None:
    rows = [(f"café {i}", label) for i, (_, label) in enumerate(ROWS)]
    path = tmp_path / "t.csv"
    path.write_bytes(joined([HEADER, *rows], ",").encode() + "café,sunny\n".encode("latin-1"))
    said = refused(path)
    assert "mixes encodings" in said and "line 26" in said


def test_nul_characters_and_other_kinds_of_file(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS[:3], ("so\0so", "sunny")], ","))
    assert "line 5 holds a NUL character" in refused(path)
    for beginning, said in (
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"PAR1", "suffix .parquet"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8bbroken", "broken gzip"),
        (gzip.compress(gzip.compress(b"text,label")), "a gzip file inside another one, not text; unpack it once"),
    ):
        path.write_bytes(beginning)
        assert said in refused(path)
    (tmp_path / "folder.csv").mkdir()
    assert "train" in refused(tmp_path / "folder.csv")


def test_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(joined([HEADER, *ROWS], ",").encode()))
    assert pairs(path) == ROWS


@pytest.mark.parametrize("column", ["text", "label"])
def test_half_a_surrogate_pair_is_refused_with_its_row(tmp_path: Path, column: str) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    rows[4][column] += " \ud83d"
    path = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    said = refused(path)
    assert "line 5 has half a surrogate pair" in said and "\\ud83d" in said
    rows[4][column] = "whole \U0001f600"
    assert pairs(save(path, "\n".join(map(json.dumps, rows))))[4][column == "label"] == "whole \U0001f600"


def test_scripts_other_than_latin_get_their_encodings_named(tmp_path: Path) -> None:
    rows = [(f"привет {text}", label) for text, label in ROWS]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ","), "cp1251")
    assert "--encoding cp1251 (Cyrillic)" in refused(path)
    assert pairs(path, encoding="cp1251") == rows
    assert "hardly as a Latin script" in notes(path, encoding="cp1252")


@pytest.mark.parametrize(
    ("text", "encoding"), [("köstlich für", "mac_roman"), ("było młody", "cp1250"), ("güneş çok", "cp1254")]
)
def test_encodings_of_the_latin_script_are_named_and_doubted(tmp_path: Path, text: str, encoding: str) -> None:
    rows = [(f"{text} {t}", label) for t, label in ROWS]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ","), encoding)
    said = refused(path)
    assert "--encoding cp1252 (western Europe), cp1250 (" in said and f"{encoding} (" in said
    assert pairs(path, encoding=encoding) == rows and "as it stands" not in notes(path, encoding=encoding)
    assert f"looks like {encoding} that was read as cp1252" in notes(path, encoding="cp1252")


def test_bytes_that_cp1252_lacks_lead_to_other_encodings(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *((f"très {t}", b) for t, b in ROWS)], ","), "mac_roman")
    assert "cp1252 (" not in refused(path) and "mac_roman (older Macs)" in refused(path)
    assert "is it --encoding mac_roman?" in notes(path, encoding="latin-1")


_RUSSIAN = "очень плохой сервис в гостинице и мы не советую никому"
_UKRAINIAN = "всі люди народжуються вільними і рівними у своїй гідності"


@pytest.mark.parametrize(
    ("text", "own", "read", "named"),
    [
        (_RUSSIAN, "koi8-r", "cp1251", "koi8-r"),
        (_RUSSIAN.upper(), "koi8-r", "cp1251", "koi8-r"),
        (_RUSSIAN, "cp866", "cp1251", "cp866"),
        (_RUSSIAN, "cp1251", "koi8-r", "cp1251"),
        (_RUSSIAN, "cp1251", "cp866", "cp1251"),
        (_UKRAINIAN, "cp1251", "koi8-u", "cp1251"),
        ("问题很多好评差评", "gb18030", "big5", "gb18030"),
        ("50 € cœur", "iso8859-15", "latin-1", "iso8859-15"),
        ("le cœur", "iso8859-15", "cp1252", "iso8859-15"),
        ("że źle świat", "cp1250", "iso8859-2", "cp1250"),
        ("café naïve “x”", "mac_roman", "latin-1", "mac_roman"),
        ("don’t “so” – naïve", "cp1252", "latin-1", "cp1252"),
        ("“a\xa0b”\xa0: «so»\xa0!", "cp1252", "latin-1", "cp1252"),
    ],
)
def test_the_likely_encoding_is_named_in_place_of_a_wrong_one(
    tmp_path: Path, text: str, own: str, read: str, named: str
) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *((f"{text} {t}", b) for t, b in ROWS)], ","), own)
    assert f"is it --encoding {named}?" in notes(path, encoding=read)
    assert "is it --encoding" not in notes(path, encoding=own)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("ОЧЕНЬ ПЛОХО, ВСЁ НЕ РАБОТАЕТ", "cp1251"),
        ("съешь ЕГЭшный", "koi8-r"),
        (_UKRAINIAN, "cp1251"),
        ("сва људска бића рађају се слободна и једнака у достојанству", "cp1251"),
        ("барлык адамдар тумысынан азат жане кадир-касиети мен укыктары тен", "cp1251"),
        ("人人生而自由在尊嚴和權利上一律平等", "big5"),
        ("人人生而自由在尊嚴和權利上一律平等", "gbk"),
        ("龘靐齉爩鱻麤", "gbk"),
        ("2½ cups, ½ l, ¤ first point", "latin-1"),
    ],
)
def test_no_other_encoding_is_named_for_honest_text(tmp_path: Path, text: str, encoding: str) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *((f"{text} {t}", b) for t, b in ROWS)], "\t"), encoding)
    assert "--encoding" not in notes(path, encoding=encoding)


def files_of(folder: Path, train: str, test: str) -> Path:
    """A folder with a train and a test file in two encodings; each has letters beyond ASCII unless it is "ascii"."""
    for name, encoding in (("train", train), ("test", test)):
        rows = [(text if encoding == "ascii" else f"naïve {text} {name}", label) for text, label in ROWS]
        save(folder / f"{name}.csv", joined([HEADER, *rows], ";"), encoding)
    return folder


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("cp1252", "utf-8", "train.csv is not UTF-8 text, but {}test.csv is,"),
        ("cp1252", "utf-8-sig", "train.csv is not UTF-8 text, but {}test.csv is,"),
        ("utf-8", "cp1252", "test.csv is not UTF-8 text, but {}train.csv is,"),
        ("utf-16", "utf-8", "train.csv is UTF-16 text, but {}test.csv is not,"),
        ("cp1252", "utf-16", "test.csv is UTF-16 text, but {}train.csv is not,"),
        ("ascii", "utf-16", "test.csv is UTF-16 text, but {}train.csv is not,"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_files_in_two_encodings_lead_in_no_circle(
    tmp_path: Path, train: str, test: str, said: str, encoding: str
) -> None:
    found = refused(files_of(tmp_path, train, test), encoding=encoding)
    assert said.format(f"{tmp_path}/") in found and "save each of them as UTF-8, and leave out --encoding" in found


@pytest.mark.parametrize(
    ("train", "test", "encoding"), [("cp1252", "cp1252", "cp1252"), ("ascii", "cp1252", "cp1252"),
     ("utf-16", "utf-16", "utf-16"), ("ascii", "utf-8-sig", "utf-8"), ("utf-8", "utf-8-sig", "utf-8")]
)  # fmt: skip
def test_files_in_one_encoding_are_read(tmp_path: Path, train: str, test: str, encoding: str) -> None:
    task = table(files_of(tmp_path, train, test), encoding=encoding)
    assert len(task.load("test")) == len(ROWS) and "naïve" in task.load("test")[0].text


def test_another_error_than_one_of_encodings_stays(tmp_path: Path) -> None:
    files_of(tmp_path, "utf-8", "utf-8")
    save(tmp_path / "test.csv", "text;label\n")
    assert "test.csv has no rows" in refused(tmp_path)
    assert "name its encoding with --encoding, e.g. --encoding cp1252" in refused(files_of(tmp_path, "cp1252", "ascii"))
