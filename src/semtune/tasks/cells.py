"""Cells of a table as texts, ids and labels. Text is text, or the row is refused; what is converted is counted."""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
import warnings
from typing import Any

from semtune.errors import DataError
from semtune.tasks.cell_kinds import flattening, kind_of_cell
from semtune.tasks.characters import check_characters, is_blank
from semtune.tasks.garbled import remark_damaged
from semtune.tasks.missing_marks import (
    DELETED_REMARK,
    is_deleted_mark,
    is_missing_word,
    is_too_narrow,
    missing_mark,
    spreadsheet_error,
)
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.written_float import WrittenFloat

LIST_MARKS = (("[", "]"), ("(", ")"), ("{", "}"))
"""How a list, tuple or set written out in one cell begins and ends."""
_PRINTED_ARRAY = re.compile(r"""(['"])\s+\1""")
"""Two strings side by side without a comma: how NumPy prints an array, which Python would read as one string."""

_CONTAINER = re.compile(
    r"(?:(?:frozen)?set|list|tuple|deque|(?:np\.|numpy\.)?array|dict_(?:keys|values))"
    r"\((?P<items>[\[({].*[\])}])?(?:,\s*dtype=[^()]*)?\)",
    re.DOTALL,
)
"""A set or array as Python and NumPy print it."""
_LONGEST_LIST = 2000
"""Characters of a cell beyond which it is no list of labels; the expression below takes the square of its length."""
_QUOTED_ITEMS = re.compile(r"""[({]\s*(['"]).*,.*[)}]|[({]\s*(['"]).*\2\s*,?\s*\}""", re.DOTALL)
"""A tuple of several items, or a set, whose first item is in quotes."""


TEXT_ADVICE = "name the column of texts with --text-column, or write each text as one string"


def text_of(value: Any, column: str, where: str, remarks: Remarks, *, advice: str = TEXT_ADVICE) -> str | None:
    """The text in a cell; None where the cell is empty. `where` names the row within the table.

    Raises DataError: the cell holds something other than text, or characters that are none.
    """
    value = _readable(value, column, where, remarks)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(
            f'{remarks.source}, {where} has {kind_of_cell(value)} in column "{column}", where a text is needed; '
            f"{advice}."
        )
    if is_blank(value):
        return None
    _check_no_error(value, column, where, remarks)
    _check_not_missing(value, column, where, remarks)
    if value[0] in "[{" and isinstance(_written_value(value), (list, dict)):
        remarks.row("a text that is written like a list or an object was taken as it stands", where)
    remark_damaged(value, where, remarks)
    return value


def label_text(value: Any, column: str, where: str, remarks: Remarks) -> str | None:
    """One label as text, without surrounding white space; None for an empty one. Numbers and dates are converted.

    3.0 becomes "3" and True becomes "true". Raises DataError for anything that is no single value.
    """
    value = _readable(value, column, where, remarks)
    if value is None:
        return None
    if isinstance(value, str):
        _check_no_error(value, column, where, remarks)
        return None if is_blank(value) else value.strip()
    text = _scalar_as_text(value)
    if text is None:
        raise no_label(value, where, remarks)
    what = "true or false" if isinstance(value, bool) else "a date"
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        what = "a number"
    elif isinstance(value, datetime.time):
        what = "a time"
    remarks.row(f"a label that is {what} was read as text", where)
    if isinstance(value, WrittenFloat) and value.written != text:
        remarks.row(f"the label {value.written} was read as the number that it is, {text},", where)
    return text


def no_label(cell: Any, where: str, remarks: Remarks) -> DataError:
    """The error about a cell that is neither a label nor a list of labels: what it holds, and what to do."""
    return DataError(
        f"{remarks.source}, {where} has a label that is neither text nor a number but {kind_of_cell(cell)}; "
        f"{flattening(cell)}."
    )


def is_nested(cell: Any) -> bool:
    """Whether a cell is a list, or a map, whose items are no single values."""
    return isinstance(cell, list) and any(isinstance(item, (list, tuple, dict)) for item in cell)


def _check_no_error(value: str, column: str, where: str, remarks: Remarks) -> None:
    """Raises DataError for a cell that is a spreadsheet's error."""
    error = spreadsheet_error(value)
    if error is not None:
        raise DataError(
            f'{remarks.source}, {where} has the spreadsheet error {error} in column "{column}"; mend the formula, or '
            "remove the row."
        )
    if is_too_narrow(value):
        raise DataError(
            f'{remarks.source}, {where} has {shown(value.strip())} in column "{column}", which a spreadsheet '
            "writes for a value that its column is too narrow for; widen it and save the file again, or remove the row."
        )


def _check_not_missing(text: str, column: str, where: str, remarks: Remarks) -> None:
    """Remark a text that is a word for a missing value. Raises DataError for one that is nothing else."""
    writers = missing_mark(text)
    if writers is not None:
        raise DataError(
            f'{remarks.source}, {where} has {shown(text.strip())} in column "{column}", with which {writers} mark a '
            "missing value; fill it in, or remove the row."
        )
    if is_deleted_mark(text):
        remarks.row(DELETED_REMARK, where, example=shown(text.strip()), advice="remove such rows")
    elif is_missing_word(text) and (any(map(str.isalpha, text)) or text.strip().startswith("###")):
        remarks.row(
            "a text is a word with which tables mark a missing value, and was taken as it stands,",
            where,
            example=shown(text.strip()),
            advice="remove such rows if they lack a text",
        )


def id_text(value: Any, column: str, where: str, remarks: Remarks) -> str | None:
    """An id as text; None for an empty one. Raises DataError for anything that is no single value."""
    value = _readable(value, column, where, remarks)
    if value is None:
        return None
    if isinstance(value, str):
        return None if is_blank(value) else value
    text = value.written if isinstance(value, WrittenFloat) else _scalar_as_text(value)
    if text is None:
        raise DataError(f'{remarks.source}, {where} has {kind_of_cell(value)} as its id in column "{column}".')
    return text


def written_list(cell: Any) -> list[Any] | None:
    """The items of a list that is written out in a cell, as JSON or Python write it; None: the cell is no such list.

    >>> written_list('["a", "b"]'), written_list("['a']"), written_list("[sic]")
    (['a', 'b'], ['a'], None)
    """
    if not isinstance(cell, str):
        return None
    text = _unwrapped(cell.strip())
    if not any(text.startswith(start) and text.endswith(end) for start, end in LIST_MARKS):
        return None
    value = _written_value(text)
    if isinstance(value, list):
        return sorted(value, key=str) if text.startswith("{") else value
    return None


def is_written_object(cell: Any) -> bool:
    """Whether a cell is an object written out as text, as JSON or Python write it."""
    return written_object(cell) is not None


def written_object(cell: Any) -> dict[str, Any] | None:
    """An object that is written out in a cell, as JSON or Python write it; None: the cell is no such object."""
    value = _written_value(cell) if isinstance(cell, str) and cell.strip().startswith("{") else None
    return value if isinstance(value, dict) else None


def _written_value(text: str) -> Any:
    """The value that `text` is in JSON or Python; None: it is neither, or an array as NumPy prints it."""
    for read in (_json_value, _python_value):
        try:
            with warnings.catch_warnings():  # Python warns of "\\d" in a string
                warnings.simplefilter("ignore")
                value = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return None if read is _python_value and _PRINTED_ARRAY.search(text) else value
    return None


def _json_value(text: str) -> Any:
    return json.loads(text, parse_float=WrittenFloat)


def _python_value(text: str) -> Any:
    """A Python literal, tuples and sets as lists: a set would merge 1.1 and 1.10 before anybody could say so.

    Raises ValueError too for whole numbers in another form than usual, such as 0x10.
    """
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            written = ast.get_source_segment(text, node) or ""
            if isinstance(node.value, float):
                node.value = WrittenFloat(written.replace("_", ""))
            elif written != str(node.value):
                raise ValueError(written)
    return ast.literal_eval(_Lists().visit(tree))


class _Lists(ast.NodeTransformer):
    """Tuples and sets of a literal as lists."""

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return ast.List([self.visit(item) for item in node.elts], ast.Load())

    def visit_Set(self, node: ast.Set) -> ast.AST:
        return ast.List([self.visit(item) for item in node.elts], ast.Load())


def looks_like_list(cell: Any) -> bool:
    """Whether a cell is written like a list, tuple or set with quoted items, readable or not."""
    text = _unwrapped(cell.strip()) if isinstance(cell, str) else ""
    if text.startswith("[") and text.endswith("]"):
        return text == "[]" or any(mark in text for mark in "'\"")
    if len(text) > _LONGEST_LIST:
        return False
    return text in ("()", "{}") or (_QUOTED_ITEMS.fullmatch(text) is not None and not is_written_object(text))


def _unwrapped(text: str) -> str:
    """The list in the text of a set or array, such as "frozenset({'a'})" or "array(['a'], dtype=object)"."""
    match = _CONTAINER.fullmatch(text)
    return text if match is None else match["items"] or "[]"


def _readable(value: Any, column: str, where: str, remarks: Remarks) -> Any:
    """A cell's value, bytes decoded and characters checked; None where it is missing. Raises DataError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        value = _decoded(value, column, where, remarks)
    if isinstance(value, str):
        check_characters(value, column, f"{remarks.source}, {where}")
    return value


def _scalar_as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isinf(value):
        return None  # a JSON number beyond all floats; two of them may differ
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float, decimal.Decimal, datetime.date, datetime.time)):
        return str(value)
    return None


def _decoded(value: bytes, column: str, where: str, remarks: Remarks) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f'{remarks.source}, {where} has bytes in column "{column}" that are no UTF-8 text; name a column of texts, '
            "or convert this one to strings."
        ) from error
    remarks.row(f'bytes in column "{column}" were decoded as UTF-8', where)
    return text
