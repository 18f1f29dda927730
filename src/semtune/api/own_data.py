"""Texts and labels that a user has in memory, written as the files that the `table` task reads.

A run has to be repeatable from its spec.yaml alone, so data in memory become JSON lines in the run's own folder. The
name of a file carries a digest of its content: data never overwrite other data, and a study that goes on where it
stopped notices that its texts have changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semtune.api.in_memory import COLUMN_OPTIONS, FORMS, SplitRows, rows_of
from semtune.api.wording import WRITTEN, spoken_python
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
        """`owner` is the folder of the run or the study, a path that can be (`expanded`)."""
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
    options = _columns_as_text(options)
    splits = {"data": task_or_data, "dev_data": dev, "test_data": test}
    if isinstance(task_or_data, Mapping):
        splits = _by_name(task_or_data, dev, test, options)
    twice = next((key for key, value in splits.items() if value is not None and options.get(key) is not None), None)
    if twice is not None:
        raise OptionError(f"{twice}= names a split that was given already; leave one of them out.")
    named: dict[str, Any] = {}
    columns: dict[str, str] = {}
    with spoken_python(folder.path):
        for key, value in splits.items():
            if is_in_memory(value):
                split = "train" if key == "data" else key.removesuffix("_data")
                found = rows_of(value, split, {**options, **columns})
                named[key] = str(folder.write(found.rows, split))
                columns = columns or (found.columns if split == "train" else {})
                _warn(found)
            elif isinstance(value, (str, os.PathLike)):
                named[key] = _place(value)
    return {"task": "table", "task_options": _task_options({**options, **named})}


def check_data_given_once(options: Mapping[str, Any], where: str) -> None:
    """Raises OptionError for a key of spec.yaml that would replace the data that were given as an argument."""
    for name in ("task", "task_options"):
        if name in options:
            raise OptionError(
                f"{where} has no option {name}=; give the data themselves as its argument, and options of the task as "
                "keywords of their own, such as text_column=."
            )


def is_in_memory(value: Any) -> bool:
    """Whether a split has to be written before a task can read it."""
    return value is not None and not isinstance(value, (str, os.PathLike))


def _task_options(values: Mapping[str, Any]) -> TaskOptions:
    from semtune.specs import record_from

    return record_from(TaskOptions, values, "the task's options")


def _by_name(
    splits: Mapping[str, Texts], dev: Texts | None, test: Texts | None, options: Mapping[str, Any]
) -> dict[str, Texts | None]:
    """The splits of a DatasetDict or a dict, by the option that names each. Raises DataError, OptionError."""
    from semtune.tasks.split_files import SPLIT_OF_NAME

    _check_no_columns(splits, options)
    if dev is not None or test is not None:
        raise OptionError("The data come with their splits by name; leave out dev= and test=.")
    found: dict[str, Texts | None] = {"data": None}
    names: dict[str, Any] = {}
    for name, value in splits.items():
        split = SPLIT_OF_NAME.get(name)
        if split is None:
            raise DataError(f'The data have a split "{name}"; {did_you_mean(str(name), SPLIT_OF_NAME)}')
        if split in names:
            raise DataError(
                f'The data have the splits "{names[split]}" and "{name}", which are both {split}; keep one.'
            )
        names[split] = name
        found["data" if split == "train" else f"{split}_data"] = value
    if found["data"] is None:
        raise DataError(f"The data have no train split; they have {', '.join(map(str, splits)) or 'none at all'}.")
    return found


def _check_no_columns(data: Mapping[Any, Any], options: Mapping[str, Any]) -> None:
    """Raises DataError for a dict of columns where one of splits is needed."""
    from semtune.tasks.header import LABEL_COLUMNS, TEXT_COLUMNS
    from semtune.tasks.split_files import SPLIT_OF_NAME

    names = {*TEXT_COLUMNS, *LABEL_COLUMNS, *(options.get(option) for option in COLUMN_OPTIONS)}
    if any(name in names for name in data if name not in SPLIT_OF_NAME):
        raise DataError(
            f"The data are a dict of columns ({', '.join(map(str, data))}), but a dict must name splits (train, dev, "
            f"test); give {FORMS}, such as pandas.DataFrame(data)."
        )


def _columns_as_text(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, in which names of columns that are numbers or tuples (of frames without a header, or with several
    levels) are text, as in files. Raises OptionError for what names no column.
    """
    named = {name: options[name] for name in COLUMN_OPTIONS if options.get(name) is not None}
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, (str, Integral, tuple)):
            raise OptionError(f"{name}= must be the name of a column, not of the kind {type(value).__name__}.")
    return {**options, **{name: str(value) for name, value in named.items()}}


def _place(value: str | os.PathLike[str]) -> str:
    """Where the `table` task finds a file, folder or hub data set: an absolute path, or hub:owner/name."""
    text = os.fspath(value)
    if text.startswith(_HUB):
        return text
    path = expanded(text).resolve()
    if not path.exists():
        raise UnknownNameError(f'"{text}" is neither a file nor a task; {did_you_mean(text, TASKS)}')
    return str(path)


def _warn(found: SplitRows) -> None:
    """Say what was converted."""
    for note in found.notes:
        warnings.warn(f"{note}.", UserWarning, stacklevel=5)
