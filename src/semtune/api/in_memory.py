"""A split in memory as the rows of a file that the `table` task reads: what a file is refused for, so is this.

Columns are chosen by the reader's own code, and the file has every column's name, so that the reader says of data in
memory what it says of files. Cells of columns that nobody named are written where the reader may have something to say
of them: few different short values, as in columns of splits and verdicts, or short lists, as of those who gave each of
a text's labels. Texts, ids and vectors stay out of the run folder.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from semtune.api.plain_values import plain_value
from semtune.errors import DataError
from semtune.tasks.remarks import Remarks

COLUMN_OPTIONS = ("text_column", "label_column", "id_column", "date_column", "split_column")
"""Fields of TaskOptions that name a column."""
MOST_VALUES = 40
"""Different values up to which a column that nobody named is written."""
MOST_CHARACTERS = 60
"""Length of a value or of a list's item, up to which it is."""
MOST_ITEMS = 20
"""Items of a list, up to which it is."""
FORMS = "a DataFrame, a datasets.Dataset or a tuple (texts, labels)"
"""How a split with labels is given in memory."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SplitRows:
    """A split as rows of plain values."""

    rows: list[Row]
    columns: dict[str, str]
    """The columns of texts and labels by the option that names each."""
    notes: tuple[str, ...]
    """What was converted."""


def rows_of(value: Any, split: str, options: Mapping[str, Any]) -> SplitRows:
    """A split in memory as rows under the columns that the options name. Raises DataError."""
    from semtune.tasks.header import LABEL_COLUMNS, TEXT_COLUMNS

    if is_a(value, "pandas", "DataFrame") or is_a(value, "datasets", "Dataset"):
        return _rows_of_table(value, split, options)
    remarks = Remarks(f"The {split} split")
    columns = {
        option: usual[0] if options.get(option) is None else options[option]
        for option, usual in (("text_column", TEXT_COLUMNS), ("label_column", LABEL_COLUMNS))
    }
    text, label = columns.values()
    if isinstance(value, tuple) and len(value) == 2 and not any(isinstance(part, str) for part in value):
        texts, labels = _ordered(value[0], split, "texts"), _ordered(value[1], split, "labels")
        if hasattr(value[1], "toarray") or getattr(value[1], "ndim", 1) > 1:
            raise DataError(
                "The labels are a matrix; give a list of label names for each text, or use semtune.sklearn for "
                "indicator matrices."
            )
        _check_same_index(*value, split)
        if len(texts) != len(labels):
            raise DataError(f"The {split} split has {len(texts)} texts and {len(labels)} labels; give one label each.")
        narrow = _shortened(value[1], labels)
        pairs = enumerate(zip(texts, narrow, strict=True), start=1)
        rows = [
            {text: _text(t, split, n), label: plain_value(y, f"row {n} of the {split} split", remarks)}
            for n, (t, y) in pairs
        ]
        return SplitRows(rows, columns, remarks.notes)
    if split == "test" and isinstance(value, Iterable) and not isinstance(value, tuple):
        texts = _ordered(value, split, "texts")
        return SplitRows([{text: _text(t, split, n)} for n, t in enumerate(texts, start=1)], columns, ())
    raise DataError(
        f"The {split} split is of a kind that semtune cannot read ({type(value).__name__}); give a task's name, a "
        f"path, {FORMS}."
    )


def is_a(value: Any, module: str, name: str) -> bool:
    """Whether `value` is an instance of a class of a module that nobody may have imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and hasattr(loaded, name) and isinstance(value, getattr(loaded, name))


def _ordered(values: Any, split: str, what: str) -> list[Any]:
    """Texts or labels as a list. Raises DataError for what has no order, or is something else when iterated over."""
    kind = type(values).__name__
    if hasattr(values, "columns") or isinstance(values, Mapping):
        raise DataError(
            f"The {what} of the {split} split are a table or mapping ({kind}), which has names of columns beside its "
            f"values; give one column of it, or {FORMS}."
        )
    if isinstance(values, (set, frozenset)):
        raise DataError(f"The {what} of the {split} split are a set, which has no order; give a list.")
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Iterable):
        raise DataError(f"The {what} of the {split} split are one value of the kind {kind}; give a list.")
    try:
        return list(values)
    except TypeError as error:  # an array without dimensions
        raise DataError(f"The {what} of the {split} split are one value of the kind {kind}; give a list.") from error


def _readable(dataset: Any) -> list[str]:
    """The columns that a datasets.Dataset gives out: `set_format(columns=…)` leaves others unreadable."""
    shown = dataset.format
    return list(dataset.column_names if shown["output_all_columns"] else shown["columns"])


def _shortened(source: Any, values: Sequence[Any]) -> Sequence[Any]:
    """Plain floats that come from a column of a narrow type (pandas on Arrow), as their shortest decimals."""
    from semtune.tasks.narrow_floats import narrow_type, shortest

    name = narrow_type(str(getattr(source, "dtype", "")))
    if name is None:
        return values
    return [shortest(value, name) if type(value) is float else value for value in values]


def _rows_of_table(value: Any, split: str, options: Mapping[str, Any]) -> SplitRows:
    """The rows of a DataFrame or datasets.Dataset. Class numbers become class names."""
    from semtune.tasks.class_names import name_classes
    from semtune.tasks.inner_splits import inner_split_notes
    from semtune.tasks.narrow_floats import shorten_column
    from semtune.tasks.split_column import check_no_split_column

    is_dataset = is_a(value, "datasets", "Dataset")
    names = _readable(value) if is_dataset else list(value.columns)
    columns = {str(name): name for name in names}
    counts = Counter(map(str, names))
    features = value.features if is_dataset else {}
    chosen = _chosen(value, columns, counts, split, options)
    if split == "train" and options.get("split_column") is None:
        others = {n: _known(value[columns[n]]) for n in columns if n not in chosen.values() and counts[n] == 1}
        check_no_split_column("The train split", others, 'split_column="{}"')
    remarks = Remarks(f"The {split} split")
    cells: dict[str, list[Any]] = {}
    for option, name in chosen.items():
        held = _shortened(value[columns[name]], list(value[columns[name]]))
        noted = remarks if option == "label_column" else None
        cells[name] = [
            _text(cell, split, n)
            if option == "text_column"
            else plain_value(cell, f"row {n} of the {split} split", noted)
            for n, cell in enumerate(held, start=1)
        ]
    for name in columns:
        if name not in cells and counts[name] == 1 and (telling := _telling(value[columns[name]])):
            cells[name] = telling
    size = len(cells[chosen["text_column"]])
    inner: tuple[str, ...] = ()
    if split == "train" and options.get("split_column") is None:
        unread = {n: _unpacked(value[columns[n]]) for n in columns if n not in cells and counts[n] == 1}
        inner = inner_split_notes("The train split", unread, 'split_column="{}"')
    rows = [{name: cells[name][n] for name in columns if name in cells} for n in range(size)]
    if rows:
        rows[0] = {name: rows[0].get(name) for name in columns}
    located = [(f"row {n}", row) for n, row in enumerate(rows, start=1)]
    for name in chosen.values():
        name_classes(located, name, features.get(name), f"the {split} split")
        shorten_column(located, name, features.get(name))
    found = {option: name for option, name in chosen.items() if option in ("text_column", "label_column")}
    return SplitRows(rows, found, (*remarks.notes, *inner))


def _chosen(
    value: Any, columns: Mapping[str, Any], counts: Mapping[str, int], split: str, options: Mapping[str, Any]
) -> dict[str, str]:
    """The columns that are read, by the option that names each, found as in a file. Raises DataError."""
    from semtune.tasks.find_column import find_column
    from semtune.tasks.header import LABEL_COLUMNS, LINES, TEXT_COLUMNS
    from semtune.tasks.table_files import RawTable

    first = {name: list(islice(value[own], LINES)) for name, own in columns.items() if counts[name] == 1}
    size = max(map(len, first.values()), default=0)
    rows = tuple((f"row {n + 1}", {name: cells[n] for name, cells in first.items()}) for n in range(size))
    repeated = {name: count for name, count in counts.items() if count > 1}
    table = RawTable(f"The {split} split", tuple(columns), rows, repeated)
    usual = {"text_column": TEXT_COLUMNS, "label_column": LABEL_COLUMNS}
    chosen: dict[str, str] = {}
    for option in COLUMN_OPTIONS:
        given, known = options.get(option), usual.get(option, ())
        if given is None and not known:
            continue
        has_none = given not in columns if given is not None else columns.keys().isdisjoint(known)
        index = [str(name) for name in getattr(getattr(value, "index", None), "names", ())] if has_none else []
        held = next((name for name in ([given] if given is not None else known) if name in index), None)
        if held is not None:
            raise DataError(
                f'The {split} split has "{held}" as its index, not as a column; give the frame with reset_index().'
            )
        if option == "label_column" and split == "test" and has_none:
            continue
        chosen[option] = find_column(table, given, known, option.removesuffix("_column"))
    return chosen


def _known(cells: Iterable[Any]) -> Iterator[Any]:
    """Cells as plain values, one after the other; None for one that is missing or has no plain form."""
    for cell in cells:
        try:
            yield plain_value(cell, "")
        except DataError:
            yield None


def _unpacked(cells: Iterable[Any]) -> list[Any]:
    """Cells with arrays as lists."""
    return [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]


def _telling(cells: Iterable[Any]) -> list[Any]:
    """The cells of a column as plain values, if these are few and short, or short lists; [] where they are not."""
    found: list[Any] = []
    different: set[str] = set()
    are_few = are_lists = True
    for cell in cells:
        try:
            value = plain_value(cell, "")
        except DataError:
            return []
        if are_few:
            written = json.dumps(value)
            different.add(written)
            are_few = len(different) <= MOST_VALUES and len(written) <= MOST_CHARACTERS
        are_lists = are_lists and (value is None or _is_short_list(value))
        if not (are_few or are_lists):
            return []
        found.append(value)
    return found


def _is_short_list(value: Any) -> bool:
    """Whether a plain value is a list of few names or whole numbers, or one written out as text."""
    from semtune.tasks.cells import written_list

    items = value if isinstance(value, list) else written_list(value)
    if items is None or len(items) > MOST_ITEMS:
        return False
    return all(isinstance(item, int) or (isinstance(item, str) and len(item) <= MOST_CHARACTERS) for item in items)


def _check_same_index(texts: Any, labels: Any, split: str) -> None:
    """Raises DataError for two pandas Series that pandas itself would pair otherwise than by position."""
    if not (is_a(texts, "pandas", "Series") and is_a(labels, "pandas", "Series")):
        return
    if len(texts) == len(labels) and not texts.index.equals(labels.index):
        raise DataError(
            f"The texts and labels of the {split} split have different indexes, so it is unclear which label is whose; "
            "put them in one order and give lists, or give one DataFrame."
        )


def _text(cell: Any, split: str, number: int) -> str | None:
    """A text; None where it is missing. Raises DataError: it is anything else."""
    plain = cell if isinstance(cell, bytes) else plain_value(cell, f"row {number} of the {split} split")
    if plain is None or (isinstance(plain, str) and isinstance(cell, str)):
        return plain
    raise DataError(
        f"Text {number} of the {split} split is no text but of the kind {type(cell).__name__}; give strings, or name "
        "the column of texts with text_column=."
    )
