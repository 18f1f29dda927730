"""Texts and labels that an earlier program garbled are remarked with an example, and never changed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from semtune.records import TaskOptions
from semtune.tasks.text_file import read_texts

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save

MOJIBAKE = (
    "it’s",
    "“so”",
    "café",
    "über",
    "Österreich",
    "wait…",
    "a – b",
    "5 £",
    "20 °C",
    "naïve",
    "ł",
    "grün 😀",
    "→",
)
HONEST = (
    "Grüße aus Köln", "voilà\u00a0»", "CAFÉ…", "“CAFÉ”", "NÃO", "MANHÃ…", "PÅ…", "ÂGE", "Spaß…", "3 Å²", "ESPAÑA",
    "AT&T; R&D", "a &b; c", "привет, «мир»…", "你好", "שלום", "x_y_z", "C:\\new\\under", "..\\node",
    "x=10=20", "√π", "été", "=)", "= 3", "'90s", "'@bob' so", "'tis", "D:\\temp",
    "caf\\'e", "na\\\"ive \\'a", "d\\'ecembre", "a 5'' pipe", "the ''Titanic''s crew", "see x.org/caf%C3%A9",
    "100%20off", "menu2019 EU2020", "b'so", "lulu00a", "<U+>", "=?what?=", "+Jonathan-", "[31m]", "is it b'x' so",
    "été à l'œuvre, L'HAŸ", "zażółć gęślą jaźń", "güneş çıktı, İstanbul'da", "Đây là Ý kiến", "iPhone 20m²groß",
    "hola¿qué tal?", "na hÉireann, i dtÓ", "#mojeŽena", "LeDébut", "það er þýð", "Łódź",
    "þýska, lýðveldi og prýði", "nýbýlavegur, ýmis, ýtið", "alþýða á þjóðþingi", "Hafþór og Guðni", "ýðin fólk",
    "výborný, východný", "þeyttur rjómi", "liðþjálfi, blýþungur", "Aþena",
    "col·lecció", "Ž Žena Šla", "nº1",
    "bin\\table.txt", "\\theta + \\nabla", "$a\\times b$", "a \\n", "x\\textbf{y}",
)  # fmt: skip


def garbled_file(path: Path, text: str, *rows: int) -> Path:
    """A table in which `text` stands in the given rows, from 0."""
    kept = [(f"{text} {t}", label) if i in rows else (t, label) for i, (t, label) in enumerate(ROWS)]
    return save(path, joined([HEADER, *kept], "\t"))


@pytest.mark.parametrize(
    ("text", "lost"), [("???? ?????? ?????", True), ("caf? ???? ??", True), ("??? ???", False), ("why ??? no", False)]
)
def test_question_marks_in_place_of_letters_are_remarked(tmp_path: Path, text: str, lost: bool) -> None:
    said = notes(garbled_file(tmp_path / "t.tsv", text, 3))
    assert ("seems to hold question marks in place of letters" in said) == lost


@pytest.mark.parametrize("head", ["", r"\ansi\deff0{\fonttbl{\f0 Arial;}}\f0\fs24 "])
def test_rtf_is_remarked_alone(tmp_path: Path, head: str) -> None:
    rows = [(rf"{{\rtf1{head or ' '}{text} caf\'e9\par}}", label) for text, label in ROWS]
    said = notes(save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t")))
    assert "a text is RTF with its commands" in said and "convert it to plain text first" in said
    assert f'for "{ROWS[0][0]} caf' in said and "line end" not in said
    assert "RTF" not in notes(garbled_file(tmp_path / "u.tsv", r"I opened {\rtf1 in a file", 3))


@pytest.mark.parametrize("meant", MOJIBAKE)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_mojibake_is_remarked_and_kept(tmp_path: Path, meant: str, encoding: str) -> None:
    raw = meant.encode()
    text = "".join(bytes([b]).decode(encoding, errors="ignore") or chr(b) for b in raw)
    file = garbled_file(tmp_path / "t.tsv", text, 3, 7)
    said = notes(file)
    assert "a text looks like UTF-8 that an earlier program read as cp1252" in said
    assert "in 2 rows (first: row 4, " in said and "export the original again as UTF-8" in said
    assert pairs(file)[3][0] == f"{text} {ROWS[3][0]}"


@pytest.mark.parametrize(
    ("meant", "encoding"),
    [("it’s", "mac_roman"), ("café", "mac_roman"), ("привет", "cp1251"), ("it’s", "cp850"), ("café", "cp437")],
)
def test_mojibake_of_other_encodings(tmp_path: Path, meant: str, encoding: str) -> None:
    text = meant.encode().decode(encoding)
    said = notes(garbled_file(tmp_path / "t.tsv", text, 3))
    assert f'read as {encoding}, and was taken as it stands, in row 4, "{text}" for "{meant}"; export' in said


@pytest.mark.parametrize(
    ("meant", "own", "read"),
    [
        ("für", "mac_roman", "cp1252"), ("übel", "mac_roman", "cp1252"), ("nächste", "mac_roman", "cp1252"),
        ("don’t", "mac_roman", "cp1252"), ("première", "cp1252", "mac_roman"), ("schöne", "cp1252", "mac_roman"),
        ("młody", "cp1250", "cp1252"), ("młody", "cp1250", "mac_roman"), ("güneş", "cp1254", "cp1252"),
        ("président", "cp850", "cp1252"), ("değil", "cp1254", "cp1252"), ("şey", "cp1254", "cp1252"),
        ("ışığı", "cp1254", "cp1252"), ("başka", "cp1254", "cp1252"), ("ığdır", "cp1254", "cp1252"),
    ],
)  # fmt: skip
def test_one_latin_encoding_read_as_another_is_remarked(tmp_path: Path, meant: str, own: str, read: str) -> None:
    text = meant.encode(own).decode(read)
    said = notes(garbled_file(tmp_path / "t.tsv", text, 3))
    assert f"{own} that was read as {read}, and was taken as it stands, in row 4" in said
    assert f'"{text}" for "{meant}"; check the file\'s encoding (--encoding mac_roman, cp1250,' in said


def test_texts_as_web_forms_send_them_are_remarked(tmp_path: Path) -> None:
    sent = [(text.replace(" ", "+"), label) for text, label in ROWS[:2]]
    assert all(text.count("+") > 2 for text, _ in sent)
    said = notes(save(tmp_path / "t.csv", joined([HEADER, *sent, *ROWS[2:]], ",")))
    assert "has + in place of spaces, as web forms send it, and was taken as it stands, in 2 rows" in said
    sums = [("a+b+c+d=e", "good"), ("C++", "bad"), ("read+write", "bad")]
    assert "in place of spaces" not in notes(save(tmp_path / "s.csv", joined([HEADER, *sums, *ROWS], ",")))


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_are_not_remarked(tmp_path: Path, text: str) -> None:
    said = notes(garbled_file(tmp_path / "t.tsv", text, 3))
    assert "as it stands" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("R&amp;D", 'a text holds an HTML entity, and was taken as it stands, in row 4, "&amp;" for "&"; unescape'),
        ("it&#39;s", '"&#39;" for "\'"'),
        ("1 &lt; 2", '"&lt;" for "<"'),
        ("a&#xA0;b", '"&#xA0;" for "\\xa0"'),
        ("end_x000D_", 'an escape of Excel\'s file format, and was taken as it stands, in row 4, "_x000D_" for "\\r"'),
        ("caf\\u00e9", 'an escape of JSON, and was taken as it stands, in row 4, "\\u00e9" for "é"'),
        ("one.\\nTwo", "a line end that is written out"),
        (
            "bread\\nsecond line",
            'written out, as databases export it, and was taken as it stands, in row 4, "bread\\nsecond"',
        ),
        ("first\\tsecond", "a line end or a tab that is written out"),
        ("bread\\r\\nsecond", '"\\r\\n" for "⏎"'),
        ("\ufefffirst", "holds a byte-order mark (U+FEFF), as files that were joined leave it"),
        ("it=E2=80=99s", '"=E2=80=99" for "’"'),
        ('a ""good"" end', "holds doubled quotes, as within quotes of CSV"),
        (
            "=?UTF-8?B?Q2Fmw6k=?=",
            "is encoded as in an e-mail's header, and was taken as it stands, in row 4, \"=?UTF-8?B?",
        ),
        ("=?iso-8859-1?Q?Caf=E9?=", '"=?iso-8859-1?Q?Caf=E9?=" for "Café"'),
        ("=?x-none?B?Q2Fmw6k=?=", '"=?x-none?B?Q2Fmw6k=?=" for "encoded text"'),
        ("caf%C3%A9", 'holds escapes of a URL, and was taken as it stands, in row 4, "caf%C3%A9" for "café"'),
        ("a%20soup%20here", 'for "a soup here"'),
        ("caf<U+00E9>", 'an escape of R, and was taken as it stands, in row 4, "<U+00E9>" for "é"'),
        ("<U+0001F600>", 'for "\U0001f600"'),
        ("it\\'s", 'quotes behind backslashes, and was taken as it stands, in row 4, "it\\\'s" for "it\'s"'),
        ('so \\"good\\" it', """for ""good"";"""),
        (
            "it''s",
            """a doubled apostrophe, as SQL writes it, and was taken as it stands, in row 4, "it''s" for "it's";""",
        ),
        ("l''homme", """for "l'homme";"""),
        ("donu2019t", 'an escape of JSON without its backslash, and was taken as it stands, in row 4, "donu2019t" for'),
        ("cafu00e9 so", '"cafu00e9" for "café"'),
        (
            "\x1b[31mred\x1b[0m",
            'holds escapes of a terminal, and was taken as it stands, in row 4, "\\x1b[31mred\\x1b[0m',
        ),
        ("\x1b$BNI$$\x1b(B", 'for "良い"; read the file with --encoding iso2022_jp'),
    ],
)
def test_escapes_are_remarked_and_kept(tmp_path: Path, text: str, says: str) -> None:
    file = garbled_file(tmp_path / "t.tsv", text, 3)
    assert says in notes(file)
    assert pairs(file)[3][0] == f"{text} {ROWS[3][0]}"


@pytest.mark.parametrize("label", ["cafÃ©", "R&amp;D", "hot_x000D_", "b'good'", "\x1b[31mgood"])
def test_garbled_labels_are_remarked_and_kept(tmp_path: Path, label: str) -> None:
    rows = [(text, label if i % 3 else "other") for i, (text, _) in enumerate(ROWS)]
    file = save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t"))
    said = notes(file)
    assert "a label " in said and "in 16 rows (first: row 2, " in said
    assert pairs(file)[1][1] == label


def test_a_label_separator_cuts_no_entity_in_two(tmp_path: Path) -> None:
    rows = [(text, "R&amp;D;other" if i % 3 else "other") for i, (text, _) in enumerate(ROWS)]
    said = refused(save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t")), label_separator=";")
    assert 'row 2 has the HTML entity "&amp;" in its label cell, which the --label-separator ";" would cut' in said


@pytest.mark.parametrize(
    ("cell", "example"),
    [
        ("'1", '"\'1" for "1"'),
        ("'=so", '"\'=so" for "=so"'),
        ('="007"', '="007"" for "007"'),
        ('=" a ""b"" "', 'for " a "b" "'),
        ('=HYPERLINK("u","go")', '"=HYPERLINK("u"'),
    ],
)
@pytest.mark.parametrize("column", [0, 1])
def test_formulas_of_spreadsheets_are_remarked_and_kept(tmp_path: Path, cell: str, example: str, column: int) -> None:
    rows = [[text, label] for text, label in ROWS]
    for row in rows[3:6]:
        row[column] = cell
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *rows])
    file = save(tmp_path / "t.csv", out.getvalue())
    said = notes(file)
    what = (
        "has an apostrophe in front, with which" if cell[0] == "'" else "is a formula of a spreadsheet, and was taken"
    )
    assert f"a {HEADER[column]} {what}" in said and "first: row 4" in said and example in said
    assert ("export the values" in said) == (cell[0] == "=")
    assert pairs(file)[3][column] == cell


def test_lines_of_texts_are_remarked_too(tmp_path: Path) -> None:
    file = save(tmp_path / "t.txt", "fine\ncafÃ©\n\ufeffthird\nlost \ufffd\n")
    texts, said = read_texts(file, TaskOptions())
    assert texts == ["fine", "cafÃ©", "\ufeffthird", "lost \ufffd"]
    for what in ("read as cp1252, and was taken as it stands, in line 2", "joined leave it", "U+FFFD, which a former"):
        assert any(what in note for note in said)


def test_whole_texts_that_were_printed_as_bytes_are_remarked(tmp_path: Path) -> None:
    rows = [(f"b'it wasn\\xe2\\x80\\x99t {i}'", label) for i, (_, label) in enumerate(ROWS)]
    file = save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t"))
    said = notes(file)
    assert "a text is written as Python's bytes, and was taken as it stands, in 24 rows" in said
    assert 'for "it wasn’t 0"); decode the bytes where' in said and pairs(file) == rows
