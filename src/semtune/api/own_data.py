"""Texts and labels that a user has in memory, written as the files that the `table` task reads.

A run has to be repeatable from its spec.yaml alone, so data in memory become JSON lines in the run's own folder. The
name of a file carries a digest of its content: data never overwrite other data, and a study that goes on where it
stopped notices that its texts have changed.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semtune.api.wording import WRITTEN
from semtune.errors import DataError, OptionError, UnknownNameError, did_you_mean
from semtune.records import TaskOptions
from semtune.registry import TASKS
from semtune.runtime.files import expanded

if TYPE_CHECKING:
    import pandas as pd

Texts: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | tuple[Iterable[str], Iterable[Any]] | Iterable[str] | Any"
"""One split: a path, a DataFrame, a datasets.Dataset, `(texts, labels)`, or texts alone for a test without labels."""
TaskOrData: TypeAlias = "Texts | Mapping[str, Texts]"
"""A task's name, a training split, or several splits by name (as in a datasets.DatasetDict)."""

TASK_OPTIONS = tuple(field.name for field in dataclasses.fields(TaskOptions))
_HUB = "hub:"


class DataFolder:
    """The folder `data` of a run or a study, and the files in it."""

    def __init__(self, owner: Path) -> None:
        """`owner` is the folder of the run or the study."""
        self.owner, self.path = owner, owner.resolve() / "data"
        self.created: list[Path] = []
        """Files that were not there before."""

    def write(self, rows: list[dict[str, Any]], split: str) -> Path:
        """The file of a split, named by its content. Raises DataError, OutputError."""
        from semtune.runtime.files import write_text

        if not rows:
            raise DataError(f"The {split} split is empty; give it some texts.")
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            digest = hashlib.sha256(content.encode("utf-8")).hexdigest()
        except UnicodeEncodeError as error:
            raise DataError(f"The {split} split holds text that is not valid Unicode ({error.reason}).") from error
        path = self.path / f"{split}-{digest[:12]}.jsonl"
        if not path.exists():
            write_text(path, content)
            self.created.append(path)
        return path

    def discard(self) -> None:
        """Remove what was created here, unless a run that began refers to it, and folders that are then empty."""
        records = [file for name in ("spec.yaml", "study.json", "*/spec.yaml") for file in self.owner.glob(name)]
        known = "".join(file.read_text(encoding="utf-8", errors="replace") for file in records)
        for path in self.created:
            if path.name not in known:
                path.unlink(missing_ok=True)
        for folder in (self.path, self.owner):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def keep_only(self, paths: Iterable[str | None]) -> None:
        """Remove the files of former runs."""
        kept = set(paths)
        for path in self.path.glob("*.jsonl"):
            if WRITTEN.fullmatch(path.name) and str(path) not in kept:
                path.unlink()


def is_task(value: Any) -> bool:
    """Whether `value` is the name of a registered task."""
    return isinstance(value, str) and value in TASKS


def task_values(
    task_or_data: TaskOrData, dev: Texts | None, test: Texts | None, options: Mapping[str, Any], folder: DataFolder
) -> dict[str, Any]:
    """`task` and `task_options`, as a RunSpec has them; data in memory are written to `folder`.

    Args:
        options: fields of TaskOptions that were given, by name.

    Raises:
        UnknownNameError: a string that is neither a task nor a file.
        OptionError: `dev` or `test` beside a task that brings its own splits.
        DataError: data of an unknown kind, without the named columns, or with another number of labels than texts.
    """
    if is_task(task_or_data):
        if dev is not None or test is not None:
            raise OptionError(f'The task "{task_or_data}" has splits of its own; leave out dev= and test=.')
        return {"task": task_or_data, "task_options": _task_options(options)}
    splits = {"data": task_or_data, "dev_data": dev, "test_data": test}
    if isinstance(task_or_data, Mapping):
        splits = _by_name(task_or_data, dev, test)
    named = {key: _location(value, key, options, folder) for key, value in splits.items() if value is not None}
    twice = [key for key in named if options.get(key) is not None]
    if twice:
        raise OptionError(f"{twice[0]}= names a split that was given already; leave one of them out.")
    return {"task": "table", "task_options": _task_options({**options, **named})}


def is_in_memory(value: Any) -> bool:
    """Whether a split has to be written before a task can read it."""
    return value is not None and not isinstance(value, (str, os.PathLike))


def _task_options(values: Mapping[str, Any]) -> TaskOptions:
    from semtune.specs import record_from

    return record_from(TaskOptions, values, "the task's options")


def _by_name(splits: Mapping[str, Texts], dev: Texts | None, test: Texts | None) -> dict[str, Texts | None]:
    """The splits of a DatasetDict or a dict, by the option that names each. Raises DataError, OptionError."""
    from semtune.tasks.split_files import SPLIT_OF_NAME

    if dev is not None or test is not None:
        raise OptionError("The data come with their splits by name; leave out dev= and test=.")
    found: dict[str, Texts | None] = {}
    for name, value in splits.items():
        split = SPLIT_OF_NAME.get(name)
        if split is None:
            raise DataError(f'The data have a split "{name}"; {did_you_mean(str(name), SPLIT_OF_NAME)}')
        found["data" if split == "train" else f"{split}_data"] = value
    if "data" not in found:
        raise DataError(f"The data have no train split; they have {', '.join(map(str, splits)) or 'none at all'}.")
    return found


def _location(value: Texts, key: str, options: Mapping[str, Any], folder: DataFolder) -> str:
    """Where the `table` task finds a split: an absolute path, or hub:owner/name."""
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if text.startswith(_HUB):
            return text
        path = expanded(text).resolve()
        if not path.exists():
            raise UnknownNameError(f'"{text}" is neither a file nor a task; {did_you_mean(text, TASKS)}')
        return str(path)
    split = "train" if key == "data" else key.removesuffix("_data")
    return str(folder.write(_rows(value, split, options), split))


def _rows(value: Any, split: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A split in memory as rows of plain values under the columns that the options name. Raises DataError."""
    from semtune.tasks.header import LABEL_COLUMNS, TEXT_COLUMNS

    text = options.get("text_column") or TEXT_COLUMNS[0]
    label = options.get("label_column") or LABEL_COLUMNS[0]
    if _is_a(value, "pandas", "DataFrame") or _is_a(value, "datasets", "Dataset"):
        return _rows_of_table(value, split, options)
    if isinstance(value, tuple) and len(value) == 2 and not any(isinstance(part, str) for part in value):
        if hasattr(value[1], "toarray") or getattr(value[1], "ndim", 1) > 1:
            raise DataError(
                "The labels are a matrix; give a list of label names for each text, or use semtune.sklearn for "
                "indicator matrices."
            )
        _check_same_index(*value, split)
        texts, labels = list(value[0]), list(value[1])
        if len(texts) != len(labels):
            raise DataError(f"The {split} split has {len(texts)} texts and {len(labels)} labels; give one label each.")
        pairs = enumerate(zip(texts, labels, strict=True), start=1)
        return [{text: _text(t, split, n), label: _plain(y, split, n)} for n, (t, y) in pairs]
    if split == "test" and isinstance(value, Iterable) and not isinstance(value, (bytes, tuple)):
        return [{text: _text(t, split, n)} for n, t in enumerate(value, start=1)]
    raise DataError(
        f"The {split} split is of a kind that semtune cannot read ({type(value).__name__}); give a task's name, a "
        "path, a DataFrame, a datasets.Dataset, or a tuple (texts, labels)."
    )


def _rows_of_table(value: Any, split: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chosen columns of a DataFrame or datasets.Dataset. Class numbers become class names."""
    from semtune.tasks.class_names import name_classes
    from semtune.tasks.header import LABEL_COLUMNS, TEXT_COLUMNS
    from semtune.tasks.split_column import check_no_split_column

    is_dataset = _is_a(value, "datasets", "Dataset")
    names = list(value.column_names if is_dataset else value.columns)
    columns = {str(name): name for name in names}
    counts = Counter(map(str, names))
    features = value.features if is_dataset else {}
    usual_columns: dict[str, tuple[str, ...]] = {
        "text_column": TEXT_COLUMNS, "label_column": LABEL_COLUMNS, "id_column": (), "date_column": (),
        "split_column": (),
    }  # fmt: skip
    chosen: list[str] = []
    for option, usual in usual_columns.items():
        given = options.get(option)
        candidates = (given,) if given else usual
        found = next((name for name in candidates if name in columns), None)
        if found is not None:
            if counts[found] > 1:
                raise DataError(f'The {split} split has {counts[found]} columns called "{found}"; rename one of them.')
            chosen.append(found)
        elif candidates and not (option == "label_column" and split == "test"):
            raise DataError(
                f'The {split} split has no column "{candidates[0]}" (name it with {option}=); '
                f"{did_you_mean(candidates[0], columns)}"
            )
    if split == "train" and not options.get("split_column"):
        others = {name: value[columns[name]] for name in columns if name not in chosen and counts[name] == 1}
        check_no_split_column("The train split", others, 'split_column="{}"')
    cells = zip(*(value[columns[name]] for name in chosen), strict=True)
    readers = [_text if name == chosen[0] else _plain for name in chosen]
    rows = [
        (f"row {n}", {name: read(cell, split, n) for name, read, cell in zip(chosen, readers, row, strict=True)})
        for n, row in enumerate(cells, start=1)
    ]
    for name in chosen:
        name_classes(rows, name, features.get(name), f"the {split} split")
    return [row for _, row in rows]


def _check_same_index(texts: Any, labels: Any, split: str) -> None:
    """Raises DataError for two pandas Series that pandas itself would pair otherwise than by position."""
    if not (_is_a(texts, "pandas", "Series") and _is_a(labels, "pandas", "Series")):
        return
    if len(texts) == len(labels) and not texts.index.equals(labels.index):
        raise DataError(
            f"The texts and labels of the {split} split have different indexes, so it is unclear which label is whose; "
            "put them in one order and give lists, or give one DataFrame."
        )


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether `value` is an instance of a class of a module that nobody may have imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and hasattr(loaded, name) and isinstance(value, getattr(loaded, name))


def _text(cell: Any, split: str, number: int) -> str | None:
    """A text; None where it is missing. Raises DataError: it is anything else."""
    plain = cell if isinstance(cell, bytes) else _plain(cell, split, number)
    if plain is None or (isinstance(plain, str) and isinstance(cell, str)):
        return plain
    raise DataError(
        f"Text {number} of the {split} split is no text but of the kind {type(cell).__name__}; give strings, or name "
        "the column of texts with text_column=."
    )


def _plain(cell: Any, split: str, number: int) -> Any:
    """A cell as JSON has it: NumPy's scalars and arrays unpacked, what is missing as None, sets sorted.

    Dates and decimal numbers become text. Raises DataError for what is neither text, a number nor a list.
    """
    if cell is None or isinstance(cell, (str, bool, int)):
        return cell
    if isinstance(cell, float):
        return None if math.isnan(cell) else cell
    if isinstance(cell, (set, frozenset)):
        return sorted((_plain(item, split, number) for item in cell), key=str)
    if isinstance(cell, (list, tuple)):
        return [_plain(item, split, number) for item in cell]
    if hasattr(cell, "tolist"):
        return _plain(cell.tolist(), split, number)
    if type(cell).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(cell, (datetime.date, datetime.time, decimal.Decimal)):
        return str(cell)
    raise DataError(
        f"Row {number} of the {split} split holds a value of the kind {type(cell).__name__}; give text, numbers or "
        "lists of them."
    )
