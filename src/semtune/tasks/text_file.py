"""Texts to predict for, from a file with one text a line or from a table's column of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semtune.errors import DataError, OptionError
from semtune.records import TaskOptions
from semtune.tasks.cells import text_of
from semtune.tasks.characters import is_blank, visible
from semtune.tasks.decoding import decode_file
from semtune.tasks.dialect import QuotingOption
from semtune.tasks.find_column import find_column
from semtune.tasks.garbled import remark_damaged
from semtune.tasks.header import TEXT_COLUMNS
from semtune.tasks.missing_marks import DELETED_REMARK, is_deleted_mark, is_too_narrow, missing_mark, spreadsheet_error
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.separated import SEPARATORS, TAB
from semtune.tasks.table_files import LINES_SUFFIX, SUFFIXES, is_separated, read_table, suffix_of


def read_texts(
    path: Path,
    options: TaskOptions,
    usual_columns: Sequence[str] = TEXT_COLUMNS,
    *,
    own_separators: Sequence[str] = (),
    own_quoting: QuotingOption = "auto",
) -> tuple[list[str], tuple[str, ...]]:
    """The texts of `path` in their order, "" for a blank one; and notes on how they were read.

    A file of a table's format (CSV, JSON lines, Parquet, …) gives its column of texts, and so does a .txt file where a
    column or a separator is named. Any other file has one text a line, whose only line ends are "\\n", "\\r\\n" and, in
    files without these, "\\r".

    Args:
        usual_columns: looked for where `options` name no column of texts.
        own_separators: what may separate the columns of a .txt file whose first line names one of them.
        own_quoting: what quotes mean in a separated file where `options` do not say so.

    Raises DataError, OptionError.
    """
    suffix = suffix_of(path)
    if suffix in SUFFIXES and (suffix != LINES_SUFFIX or options.text_column or options.separator):
        return _texts_of_table(path, options, usual_columns, own_quoting)
    if options.text_column or options.separator:
        raise OptionError(
            f"{path} is read as one text a line, so columns mean nothing in it; give it the suffix of a table (.csv, "
            ".tsv, .jsonl, …), or leave --text-column and --separator out."
        )
    decoded = decode_file(path, options.encoding, encoding_option=True)
    lines = decoded.text.removesuffix("\n").split("\n")
    first = next((line for line in lines if not is_blank(line)), "")
    named = _named_column(first, usual_columns, own_separators if suffix == LINES_SUFFIX else ())
    if named is not None:
        column, separator = named
        own = options if separator in SEPARATORS else replace(options, separator=separator)
        texts, notes = _texts_of_table(path, own, usual_columns, own_quoting)
        return texts, (f'{path}: read as a table, as its first line names the column "{column}"', *notes)
    blank = [number for number, line in enumerate(lines, start=1) if is_blank(line)]
    remarks = Remarks(str(path))
    for number, line in enumerate(lines, start=1):
        remark_damaged(line, f"line {number}", remarks)
        if is_deleted_mark(line):
            remarks.row(DELETED_REMARK, f"line {number}", example=shown(line), advice="empty such lines")
        elif spreadsheet_error(line) or missing_mark(line) or is_too_narrow(line):
            what = "a text is a spreadsheet's error or a mark of a missing value, and was taken as it stands,"
            remarks.row(what, f"line {number}", example=shown(line), advice="empty such lines if they lack a text")
    return ["" if is_blank(line) else line for line in lines], (
        *decoded.notes,
        *_table_note(path, lines, usual_columns),
        *remarks.notes,
        *_blank_note(path, "line", blank),
    )


def _named_column(line: str, columns: Sequence[str], separators: Sequence[str]) -> tuple[str, str] | None:
    """The first of `columns` that is a cell of several in `line`, and what separates them; None: there is none."""
    for separator in separators:
        cells = [visible(cell).strip("\"'") for cell in line.split(separator)]
        for column in columns if len(cells) > 1 else ():
            if column in cells:
                return column, separator
    return None


def _table_note(path: Path, lines: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """A note where a file with one text a line looks like a table."""
    advice = "if the file is a table, name its column of texts with --text-column"
    if visible(lines[0]) in columns or _named_column(lines[0], columns, SEPARATORS) is not None:
        return (f"{path}: line 1 ({shown(lines[0])}) looks like a header, and was read as a text; {advice}",)
    cells = {len(line.split(TAB)) for line in lines if not is_blank(line)}
    if len(lines) > 1 and len(cells) == 1 and cells != {1}:
        return (
            f"{path}: each line has {cells.pop()} cells separated by tabs, and was read as one text; {advice} (its "
            "first line must then name the columns)",
        )
    return ()


def _texts_of_table(
    path: Path, options: TaskOptions, usual_columns: Sequence[str], own_quoting: QuotingOption
) -> tuple[list[str], tuple[str, ...]]:
    remarks = Remarks(str(path))
    if options.quoting == "auto" != own_quoting and is_separated(path):
        options = replace(options, quoting=own_quoting)
        remarks.general(f"quotes were read as those of the run's own table were, with --quoting {own_quoting}")
    table = read_table(path, options, keep_blank=True)
    column = find_column(table, options.text_column, usual_columns, "text")
    if options.text_column is None and column != usual_columns[0]:
        remarks.general(f'the column "{column}" was taken for the texts, as there is no column "{usual_columns[0]}"')
    texts = [text_of(row.get(column), column, where, remarks) or "" for where, row in table.rows]
    blank = [number for number, text in enumerate(texts, start=1) if not text]
    if len(blank) == len(texts):
        raise DataError(f'{path} has no text in column "{column}"; name the column of texts with --text-column.')
    return texts, (*table.notes, *remarks.notes, *_blank_note(path, "row", blank))


def _blank_note(path: Path, what: str, numbers: list[int]) -> tuple[str, ...]:
    if not numbers:
        return ()
    if len(numbers) == 1:
        return (f"{path}: {what} {numbers[0]} is blank and gets no prediction",)
    return (f"{path}: {len(numbers):,} {what}s are blank and get no prediction (first: {what} {numbers[0]})",)
