"""Files as people have them: each reads as its writer meant it, or is refused in a sentence that names what helps."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semtune.errors import DataError, OptionError, SemtuneError
from semtune.records import TaskOptions
from semtune.tasks.missing_marks import missing_mark, spreadsheet_error
from semtune.tasks.table import Table

from .tables import HEADER, LABELS, ROWS, joined, notes, pairs, read, refused, save, table

# Quotes in tab-separated files are characters of the text, unless the file is written in the csv form.


@pytest.mark.parametrize(
    "opening",
    [{5: '"'}, {5: '"', 17: '"'}, {0: '"Fine" ', 6: '"Fine" ', 12: '"Fine" '}],
    ids=["one", "two", "quoted-word"],
)
def test_a_text_that_begins_with_a_quote_swallows_no_rows(tmp_path: Path, opening: dict[int, str]) -> None:
    rows = [(opening.get(i, "") + text, label) for i, (text, label) in enumerate(ROWS)]
    path = save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t"))
    assert pairs(path) == rows
    count = f"{len(opening)} cells begin" if len(opening) > 1 else "1 cell begins"
    first = min(opening) + 2
    assert f"quotes were read as characters of the text ({count} with one, first: line {first};" in notes(path)


def test_quotes_that_close_lines_later_swallow_no_rows(tmp_path: Path) -> None:
    rows = [*ROWS]
    rows[3], rows[6] = ('"' + rows[3][0], rows[3][1]), (rows[6][0] + '"', rows[6][1])
    assert pairs(save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t"))) == rows
    rows[6] = (ROWS[6][0], ROWS[6][1] + '"')  # the quoted cell would now end with the last cell of a row
    said = refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
    assert "line 5" in said and "--quoting none" in said and "--quoting csv" in said
    kept = pairs(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")), quoting="none")
    assert len(kept) == len(rows) and kept[3] == rows[3]


def test_a_whole_text_in_quotes_keeps_them_in_a_tab_separated_file(tmp_path: Path) -> None:
    rows = [('"Fine"', "sunny"), *ROWS]
    path = save(tmp_path / "t.tsv", joined([HEADER, *rows], "\t"))
    assert pairs(path) == rows
    assert pairs(path, quoting="csv")[0] == ("Fine", "sunny")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_csv_form_is_read_in_both(tmp_path: Path, quoting: Any, suffix: str) -> None:
    rows = [("he said \"no\"\nand\tleft, 'so'", "sunny"), ('""', "cloudy"), *ROWS]
    out = io.StringIO()
    csv.writer(out, delimiter="\t" if suffix == ".tsv" else ",", quoting=quoting).writerows([HEADER, *rows])
    assert pairs(save(tmp_path / f"t{suffix}", out.getvalue())) == rows


def test_quotes_escaped_by_a_backslash(tmp_path: Path) -> None:
    rows = [(f'he said "{text}", then left', label) for text, label in ROWS]
    lines = [",".join(HEADER), *('"' + t.replace('"', '\\"') + f'",{label}' for t, label in rows)]
    path = save(tmp_path / "t.csv", "\n".join(lines))
    assert pairs(path) == rows and "escaped as" in notes(path)


def test_quotes_inside_quoted_cells_that_are_not_doubled(tmp_path: Path) -> None:
    rows = [(f'he said "{text}" and left', label) for text, label in ROWS]
    for separator, suffix in ((",", ".csv"), ("\t", ".tsv")):
        lines = [separator.join(f'"{cell}"' for cell in row) for row in (HEADER, *rows)]
        path = save(tmp_path / f"t{suffix}", "\n".join(lines))
        assert pairs(path) == rows
        assert "quotes inside quoted cells are not doubled, and were kept in 24 rows (first: line 2)" in notes(path)


def test_broken_quotes_name_their_line(tmp_path: Path) -> None:
    text = joined([HEADER, *((f'"{t}"', label) for t, label in ROWS[:9]), ('"open', "sunny"), *ROWS[10:]], ",")
    said = refused(save(tmp_path / "t.csv", text))
    assert "line 11" in said and "--quoting none" in said


# Separators


@pytest.mark.parametrize("separator", [";", "|", "\t"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_a_separator_is_found_out(tmp_path: Path, separator: str, suffix: str) -> None:
    rows = [(f"{text}, and so on", label) for text, label in ROWS]
    path = save(tmp_path / f"t{suffix}", joined([HEADER, *rows], separator))
    assert pairs(path) == rows
    assert ("read as separated by" in notes(path)) == (suffix != ".tsv" or separator != "\t")


def test_a_header_with_two_separators_is_settled_by_the_rows(tmp_path: Path) -> None:
    rows = [(f"{text}, {'and, ' * (i % 3)}so", label) for i, (text, label) in enumerate(ROWS)]
    path = save(tmp_path / "t.csv", joined([("text, raw", "label"), *rows], ";"))
    assert pairs(path, text_column="text, raw") == rows


@pytest.mark.parametrize(("given", "written"), [("::", "::"), ("tab", "\t"), ("\\t", "\t"), ("^", "^"), ("space", " ")])
def test_a_named_separator(tmp_path: Path, given: str, written: str) -> None:
    rows = [(text.replace(" ", "_"), label) for text, label in ROWS]
    assert pairs(save(tmp_path / "t.csv", joined([HEADER, *rows], written)), separator=given) == rows


def test_a_wrong_separator_names_the_right_one(tmp_path: Path) -> None:
    said = refused(save(tmp_path / "t.csv", joined([HEADER, *ROWS], ";")), separator=",")
    assert 'looks separated by ";"' in said and '--separator ";"' in said
    for impossible in ('"', "", "\n"):
        with pytest.raises(OptionError, match="--separator cannot be"):
            table(tmp_path / "t.csv", separator=impossible)


def test_excels_line_that_names_the_separator(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", "sep=;\r\n" + joined([HEADER, *ROWS], ";", "\r\n"))
    assert pairs(path) == ROWS


# Shapes of rows and headers


@pytest.mark.parametrize("header", [("text", "label"), ("text", "label", ""), ("text", "label", " ")])
def test_rows_that_end_in_a_separator(tmp_path: Path, header: tuple[str, ...]) -> None:
    rows = [(*row, "") for row in ROWS]
    path = save(tmp_path / "t.csv", joined([header, *rows], ","))
    assert pairs(path) == ROWS
    assert ("empty cells beyond the header's columns were left out in 24 rows" in notes(path)) == (len(header) == 2)


@pytest.mark.parametrize(
    ("separator", "end", "tail"),
    [(",", "", ""), (",", ",", ""), ("\t", "", ""), (";", ";", ""), (",", ",,,", ""), (",", ",,", ", so")],
)
@pytest.mark.parametrize("columns", [("label", "text"), ("text", "label")])
def test_a_text_with_a_separator_is_not_cut_by_a_header_that_ends_in_one(
    tmp_path: Path, separator: str, end: str, tail: str, columns: tuple[str, ...]
) -> None:
    rows = [{"text": f"so{i}", "label": LABELS[i % 3]} for i in range(20)]
    for i in (4, 9):
        rows[i]["text"] = f"so{separator}it was{i}{tail}"
    lines = [separator.join(columns) + (end or separator)]
    lines += [separator.join(row[c] for c in columns) + (end if i not in (4, 9) else "") for i, row in enumerate(rows)]
    said = refused(save(tmp_path / "t.csv", "\n".join(lines)), separator=separator)
    assert "line 6 has " in said and "in column 3, for which the header has no name" in said
    assert "is empty in 18 of 20 rows" in said and 'put "quotes" around cells' in said


def test_columns_without_a_name_are_noted_unless_they_number_the_rows(tmp_path: Path) -> None:
    behind = [(*row, "x") for row in ROWS]
    path = save(tmp_path / "t.csv", joined([(*HEADER, ""), *behind], ","))
    assert pairs(path) == ROWS
    assert "a cell of column 3, which has no name, was left out in 24 rows (first: line 2)" in notes(path)
    before = [("x" if i == 5 else "", *row) for i, row in enumerate(ROWS)]
    path = save(tmp_path / "t.csv", joined([("", *HEADER), *before], ","))
    assert pairs(path) == ROWS and "a cell of column 1, which has no name, was left out in line 7" in notes(path)
    path = save(tmp_path / "t.csv", joined([("", *HEADER), *((str(i), *row) for i, row in enumerate(ROWS))], ","))
    assert pairs(path) == ROWS and "no name" not in notes(path)


def test_header_cells_with_spaces_and_invisible_characters(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([(" \u200btext ", "label\u00a0"), *ROWS], ";"))
    assert pairs(path) == pairs(path, text_column=" text ", label_column="label\u00a0") == ROWS


def test_spaces_after_tabs(tmp_path: Path) -> None:
    path = save(tmp_path / "t.tsv", joined([HEADER, *ROWS], "\t "))
    assert pairs(path) == ROWS and "the spaces after each tab were left out" in notes(path)


def test_spaces_after_the_separators(tmp_path: Path) -> None:
    rows = [(f'"{text}, so"', label) for text, label in ROWS]
    path = save(tmp_path / "t.csv", joined([("label", "text"), *((b, a) for a, b in rows)], ", "))
    assert pairs(path) == [(text.strip('"'), label) for text, label in rows]
    assert 'the spaces after each "," were left out' in notes(path)


def test_blank_lines_and_repeated_headers_are_counted(tmp_path: Path) -> None:
    lines = joined([HEADER, *ROWS], ",").splitlines()
    lines[5:5] = ["", " , ", ""]
    lines.append("\ufefftext,label")
    path = save(tmp_path / "t.csv", "\n".join(lines))
    assert pairs(path) == ROWS
    assert "a blank line was left out in 3 rows (first: line 6)" in notes(path)
    assert "a repeated header was left out in row 25 (line 29)" in notes(path)


def test_a_row_that_lacks_cells_is_counted_and_one_with_more_is_refused(tmp_path: Path) -> None:
    short = save(tmp_path / "t.csv", joined([(*HEADER, "source"), *ROWS[:9], *((*r, "web") for r in ROWS[9:])], ","))
    assert pairs(short) == ROWS
    assert "a row has fewer cells than the header in 9 rows (first: row 1)" in notes(short)
    said = refused(save(tmp_path / "t.csv", joined([HEADER, *ROWS[:3], ("so, and so", "sunny")], ",")))
    assert "line 5 has 3 cells, but the header has 2" in said and "--separator" in said


def test_comment_lines_above_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", "# made by a tool\n#\n" + joined([HEADER, *ROWS], ","))
    assert pairs(path) == ROWS and '"#" lines above the header were left out (2 of them)' in notes(path)
    path = save(tmp_path / "t.tsv", joined([("#text", "label"), *ROWS], "\t"))
    assert pairs(path, text_column="#text") == ROWS


@pytest.mark.parametrize("first", ["so; and, so", "one\ntwo, three", 'a ""b"", c'])
@pytest.mark.parametrize("name", ["#", "#id"])
def test_a_header_that_begins_with_a_number_sign_is_none(tmp_path: Path, name: str, first: str) -> None:
    rows = [(str(n), text, label) for n, (text, label) in enumerate(ROWS)]
    head = f'{name},text,label\n0,"{first}",sunny\n'
    path = save(tmp_path / "t.csv", head + joined(rows, ","))
    assert pairs(path)[1:] == ROWS and "were left out" not in notes(path)
    path = save(tmp_path / "t.csv", "# made by a tool, 2021\n" + head + joined(rows, ","))
    assert pairs(path)[1:] == ROWS and "(1 of them)" in notes(path)


def test_a_header_called_number_sign_needs_no_row_of_its_width(tmp_path: Path) -> None:
    rows = [("1", "so"), *((str(n), *row) for n, row in enumerate(ROWS, start=2))]
    path = save(tmp_path / "t.csv", joined([("#", "text", "label"), *rows], ","))
    assert "row 1 has no label" in refused(path)


def test_headers_that_look_wrong_are_explained(tmp_path: Path) -> None:
    assert "name what separates the columns with --separator" in refused(
        save(tmp_path / "t.csv", joined([HEADER, *ROWS], "::"))
    )
    assert "the first line must name the columns" in refused(save(tmp_path / "t.csv", joined(ROWS, ",")))
    ruled = joined([("text", "label"), ("---", ":--:"), *ROWS], "|")
    assert pairs(save(tmp_path / "t.csv", ruled)) == ROWS
    assert "a ruled line below the header was left out in line 2" in notes(tmp_path / "t.csv")
    psql = joined([("text", "label")], "|") + "-----+-------\n" + joined(ROWS, "|") + "(24 rows)\n\n"
    assert pairs(save(tmp_path / "t.csv", psql)) == ROWS
    said = notes(tmp_path / "t.csv")
    assert "ruled line below the header was left out in line 2" in said
    assert "the number of rows below the table was left out in line 27" in said


def test_the_end_of_file_mark_of_old_systems_is_no_row(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS], ",", "\r\n") + "\x1a")
    assert pairs(path) == ROWS and "a blank line was left out in line 26" in notes(path)


def test_a_repeated_column_is_refused_where_it_is_used(tmp_path: Path) -> None:
    path = save(
        tmp_path / "t.csv",
        joined([("text", "label", "label"), *((t, str(i), b) for i, (t, b) in enumerate(ROWS))], ","),
    )
    assert '2 columns called "label"' in refused(path)
    path = save(tmp_path / "t.csv", joined([("text", "label", "x", "x"), *((*r, "1", "2") for r in ROWS)], ","))
    assert pairs(path) == ROWS
    path = save(tmp_path / "t.jsonl", '{"text": "a", "label": 0, "label": "sunny"}\n')
    assert 'line 1 has two values for "label"' in refused(path)
    arrays = [pa.array([t for t, _ in ROWS]), pa.array(range(24)), pa.array([b for _, b in ROWS])]
    pq.write_table(pa.table(arrays, names=["text", "label", "label"]), tmp_path / "t.parquet")
    assert '2 columns called "label"' in refused(tmp_path / "t.parquet")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    rows = [(f"{text}\u2028\x0b\x85\x0c so", label) for text, label in ROWS]
    assert pairs(save(tmp_path / "t.csv", joined([HEADER, *rows], ",", end))) == rows


def test_cells_beyond_any_limit(tmp_path: Path) -> None:
    rows = [("word " * 60_000, "sunny"), *ROWS]
    assert pairs(save(tmp_path / "t.csv", joined([HEADER, *rows], ","))) == rows


# The parser gives back what the csv module wrote, and reads whatever the csv module reads.

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=12)
cells = st.one_of(texts, st.text(alphabet='a,;\t|"\n \\', min_size=1, max_size=8)).filter(
    lambda s: any(c.isprintable() and not c.isspace() for c in s)
)


ANY_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "separator": st.sampled_from([",", ";", "tab", "::"]),
        "quoting": st.sampled_from(["csv", "backslash", "none"]),
        "encoding": st.sampled_from(["utf-16", "utf-16-le", "cp1252", "latin-1", "utf-8-sig", "utf-7", "idna", "hex"]),
        "label_separator": st.sampled_from([";", ","]),
        "id_column": st.just("text"),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", ".csv.gz"]),
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet="textlab,;\"#=\\\n\r\t [']\0\ufeff", max_size=80).map(lambda s: ("text,label\n" + s).encode()),
        st.text(max_size=60).map(lambda s: ("text;label\n" + s).encode("utf-16", "surrogatepass")),
        st.text(max_size=60).map(lambda s: gzip.compress(s.encode("utf-8", "surrogatepass"))),
    ),
    ANY_OPTIONS,
)
def test_anything_reads_or_says_why(tmp_path: Path, suffix: str, content: bytes, options: dict[str, Any]) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    try:
        task = table(path, **options)
        found = [e for split in ("train", "dev", "test") for e in task.load(split)]
    except SemtuneError as error:
        assert "\n" not in str(error).replace(str(path), "")
        return
    for example in found:
        example.text.encode()
    assert all("\n" not in note for note in task.notes)


def test_files_of_a_folder_that_are_no_split_are_named(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "Dev.TSV", joined([HEADER, *((f"new {t}", b) for t, b in ROWS[:3])], "\t"))
    save(tmp_path / "test_set.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "README.txt", "about")
    save(tmp_path / "validation-00000-of-00001.csv", joined([HEADER, *ROWS], ","))
    with pytest.raises(DataError, match=r"several files for the dev split \(Dev.TSV, validation-0.*join them"):
        table(tmp_path).load("dev")
    (tmp_path / "Dev.TSV").rename(tmp_path / "validation-00000-of-00001.csv")
    task = table(tmp_path)
    assert len(task.load("dev")) == 3
    assert any("left out test_set.csv, whose name" in note for note in task.notes)


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    for name in ("x" * 5000 + ".csv", "~nobody-of-this-name/t.csv", "a\0b.csv"):
        with pytest.raises(DataError):
            Table(TaskOptions(data=name)).load("train")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        cells.filter(lambda s: spreadsheet_error(s) is None and missing_mark(s) is None),
        min_size=12,
        max_size=12,
        unique_by=lambda s: " ".join(s.casefold().split()),
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_round_trip_with_the_csv_module(tmp_path: Path, found: list[str], separator: str, how: Any, end: str) -> None:
    rows = [(text, LABELS[i % 3]) for i, text in enumerate(found)]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=how, lineterminator=end).writerows([HEADER, *rows])
    path = save(tmp_path / "t.csv", out.getvalue())
    assert pairs(path, separator=separator, quoting="csv") == rows
    try:
        alone = pairs(path)
    except DataError as error:
        assert "two ways" in str(error) and "--quoting" in str(error)
        return
    assert alone == rows or "quotes were read as characters of the text" in notes(path)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}', 'to_json(orient="records")'),
        ('{"columns": ["text", "label"], "index": [0], "data": [["a", "x"]]}', 'to_json(orient="records")'),
        ('{"data": [{"text": "a", "label": "x"}], "version": 1}', 'save the list under "data" as a file of its own'),
        ('{"text": ["a", "b"], "label": ["x", "y"]}', "if its lists are columns, write one object a row (pandas.Data"),
        ('{"3": ["x"], "5": ["y"]}', 'with the keys "3", "5"; write one object a row, such as [{...}, {...}]'),
        ('"soup"', "write one object a row, such as [{...}, {...}]"),
    ],
)
def test_json_of_another_shape_says_how_to_write_it(tmp_path: Path, text: str, advice: str) -> None:
    file = tmp_path / "t.json"
    file.write_text(text)
    assert advice in refused(file)


@pytest.mark.parametrize(("deep", "said"), [("[" * 99_999, "nested too deeply"), ("1" * 5000, "thousands of digits")])
def test_json_beyond_reading_is_said_without_pythons_words(tmp_path: Path, deep: str, said: str) -> None:
    for name in ("t.json", "t.jsonl"):
        message = refused(save(tmp_path / name, f'{{"text": "a", "label": {deep}'))
        assert said in message and not re.search("recursion|sys", message)


@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
@pytest.mark.parametrize("options", [{}, {"text_column": "chat"}])
def test_chats_are_said_to_need_two_columns(tmp_path: Path, keys: tuple[str, str], options: dict[str, str]) -> None:
    chat = [dict(zip(keys, said, strict=True)) for said in (("user", "warm soup"), ("assistant", "good"))]
    said = refused(save(tmp_path / "t.jsonl", json.dumps({"chat": chat}) + "\n"), **options)
    assert 'chats in its column "chat"; write the content of the user' in said


def test_single_quotes_are_said_to_be_none(tmp_path: Path) -> None:
    rows = [(f"'{text}, really'", f"'{label}'") for text, label in ROWS]
    assert "'single quotes' do not protect it" in refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
    rows = [("'text'", "'label'"), *((f"'{text}'", f"'{label}'") for text, label in ROWS)]
    assert "header is in 'single quotes'" in refused(save(tmp_path / "t.csv", joined(rows, ",")))
    rows = [(f"'tis {text}, really", label) for text, label in ROWS]
    assert "'single" not in refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))


@pytest.mark.parametrize("named", ["comment", "data.comment"])
def test_a_column_inside_objects_is_named(tmp_path: Path, named: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"data": {"comment": "warm soup"}, "ann": {"mood": "good"}}\n' * 3)
    said = refused(file, text_column=named, label_column="mood")
    assert 'has "comment" inside the objects of its column "data"' in said and "json_normalize" in said


@pytest.mark.parametrize(("end", "said"), [("\r\n", True), ("\r", True), ("\n", False)])
def test_line_ends_that_change_inside_cells_are_said(tmp_path: Path, end: str, said: bool) -> None:
    rows = ["text,label", *(f'"soup{end}is warm {n}",{"good" if n % 2 else "bad"}' for n in range(20))]
    path = save(tmp_path / "t.csv", end.join(rows) + end)
    assert ("a line end inside a cell (CR LF or CR) became a line feed in 20 rows" in notes(path)) == said
    assert {e.text.partition(" ")[0] for e in read(path)} == {"soup\nis"}
