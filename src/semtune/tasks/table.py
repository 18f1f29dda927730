"""A user's labelled texts: a CSV, TSV, JSON, JSON lines or Parquet file, a folder of split files, or a hub data set.

The user names the columns. The task is multi-label where a label separator was given or a label cell is a list, and
single-label otherwise. Splits that are not given are made from the training rows (see `splits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.errors import DataError, OptionError, did_you_mean
from semtune.records import Example, Target, TargetKind, TaskOptions, label_target
from semtune.tasks.base import SPLITS, BaseTask
from semtune.tasks.splits import make_splits
from semtune.tasks.table_files import RawTable, as_text, read_table, read_tables

TEXT_COLUMNS = ("text",)
LABEL_COLUMNS = ("label", "labels")
"""Column names to look for where the user names none."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The content of the tables: examples by split, labels, kind of target, notes."""

    labels: tuple[str, ...]
    kind: TargetKind
    splits: dict[str, list[Example]]
    made: tuple[str, ...]


class Table(BaseTask):
    """Registered as "table". The data are read on first use of `labels`, `target_kind`, `notes` or `load`."""

    name = "table"
    usable_options = frozenset(
        {"data", "dev_data", "test_data", "text_column", "label_column", "id_column", "label_separator", "labels"}
        | {"encoding", "split_seed", "dev_fraction", "test_fraction"}
    )
    options_hint = "name the table with --data"

    def __init__(self, options: TaskOptions) -> None:
        """Raises OptionError: no data, a fraction outside 0 to 1, an impossible label set, an unusable option."""
        super().__init__(options)
        if not options.data:
            raise OptionError('The task "table" needs --data: a file, a folder of split files, or hub:owner/name.')
        for name, fraction in (("dev", options.dev_fraction), ("test", options.test_fraction)):
            if not 0.0 < fraction < 1.0 and (name, fraction) != ("test", 0.0):
                raise OptionError(f"--{name}-fraction must lie between 0 and 1, but it is {fraction:g}.")
        if options.dev_fraction + options.test_fraction >= 1.0:
            raise OptionError(
                f"--dev-fraction {options.dev_fraction:g} and --test-fraction {options.test_fraction:g} leave nothing "
                "to train on; make them smaller."
            )
        if options.label_separator == "":
            raise OptionError('--label-separator must not be empty; give one such as ";" or leave it out.')
        if options.labels is not None:
            _check_label_set(options.labels)
        self._loaded: _Loaded | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The given labels, else all labels that occur, sorted. Raises DataError."""
        return self._all().labels

    @property
    def target_kind(self) -> TargetKind:
        """One label per text, or a set if a separator was given or a cell is a list. Raises DataError."""
        return self._all().kind

    @property
    def notes(self) -> tuple[str, ...]:
        """A remark on which splits semtune made. Raises DataError."""
        made = self._all().made
        if not made:
            return ()
        seed = self.options.split_seed
        return (f"{' and '.join(made)} split off the training rows by semtune (stratified, seed {seed})",)

    @property
    def made_splits(self) -> tuple[str, ...]:
        """The splits that were not given. Raises DataError."""
        return self._all().made

    def _read(self, split: str) -> list[Example]:
        return self._all().splits[split]

    def _all(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = self._read_all()
        return self._loaded

    def _read_all(self) -> _Loaded:
        tables = self._tables()
        text_column = self._column(tables["train"], self.options.text_column, TEXT_COLUMNS, "text")
        label_column = self._column(tables["train"], self.options.label_column, LABEL_COLUMNS, "label")
        multi = self.options.label_separator is not None or any(
            isinstance(row.get(label_column), list) for table in tables.values() for _, row in table.rows
        )
        kind: TargetKind = "label_set" if multi else "single_label"
        splits = {
            split: self._examples(table, split, text_column, label_column, kind, prefix=len(tables) > 1)
            for split, table in tables.items()
        }
        _check_no_shared_ids(splits)
        labels = self.options.labels or _inferred(splits, tables["train"].source, label_column, kind)
        splits = {split: [_in_order(e, labels, kind) for e in examples] for split, examples in splits.items()}
        fractions = {"dev": self.options.dev_fraction, "test": self.options.test_fraction}
        made = tuple(split for split in SPLITS if split not in splits and fractions[split] > 0)
        if made:
            splits |= make_splits(splits["train"], {split: fractions[split] for split in made}, self.options.split_seed)
        splits.setdefault("test", [])
        return _Loaded(labels, kind, splits, made)

    def _tables(self) -> dict[str, RawTable]:
        """The given splits: --data, and --dev-data and --test-data beside it. Raises DataError, OptionError."""
        assert self.options.data is not None  # __init__ checked
        tables = read_tables(self.options.data, self.options.encoding)
        for split, data in (("dev", self.options.dev_data), ("test", self.options.test_data)):
            if data is None:
                continue
            if split in tables:
                raise OptionError(f"{self.options.data} has a {split} split already; leave out --{split}-data.")
            tables[split] = read_table(Path(data).expanduser(), self.options.encoding)
        return tables

    def _column(self, table: RawTable, given: str | None, usual: Sequence[str], what: str) -> str:
        """The column's name. Raises DataError, which names the columns of the table."""
        for name in [given] if given is not None else usual:
            if name in table.columns:
                return name
        missing = given if given is not None else usual[0]
        raise DataError(
            f'{table.source} has no column "{missing}" (name it with --{what}-column); '
            f"{did_you_mean(missing, table.columns)}"
        )

    def _examples(
        self, table: RawTable, split: str, text_column: str, label_column: str, kind: TargetKind, *, prefix: bool
    ) -> list[Example]:
        """The rows of one table; `prefix`: generated ids begin with the split's name, to be unique among tables."""
        self._column(table, text_column, (), "text")
        if split != "test":
            self._column(table, label_column, (), "label")
        if self.options.id_column is not None:
            self._column(table, self.options.id_column, (), "id")
        labelled = label_column in table.columns
        examples: list[Example] = []
        known: dict[str, str] = {}
        for number, (row_name, row) in enumerate(table.rows, start=1):
            where = f"{table.source}, {row_name}"
            text = as_text(row.get(text_column))
            if text is None:
                raise DataError(f'{where} has no text in column "{text_column}"; fill it in or remove the row.')
            example_id = f"{split}-{number}" if prefix else str(number)
            if self.options.id_column is not None:
                example_id = _unique_id(row, self.options.id_column, where, row_name, known)
            target = self._row_target(row.get(label_column), kind, where) if labelled else None
            if target is None and split != "test":
                raise DataError(
                    f'{where} has no label in column "{label_column}"; fill it in or remove the row (a text may have '
                    "no label only in multi-label data: see --label-separator)."
                )
            examples.append(Example(id=example_id, text=text, target=target))
        return examples

    def _row_target(self, cell: Any, kind: TargetKind, where: str) -> Target | None:
        """The label or labels in a cell; None where the cell of a single-label table is empty."""
        items: list[Any]
        if isinstance(cell, list):
            items = cell
        elif isinstance(cell, str) and self.options.label_separator is not None:
            items = cell.split(self.options.label_separator)
        else:
            items = [cell]
        if any(isinstance(item, (dict, list)) for item in items):
            raise DataError(f"{where} has a label that is neither text nor a number; flatten the label column.")
        found = tuple(dict.fromkeys(text.strip() for text in map(as_text, items) if text is not None))
        known = self.options.labels
        if known is not None:
            for label in found:
                if label not in known:
                    raise DataError(f'{where} has the unknown label "{label}"; {did_you_mean(label, known)}')
        return label_target(kind, found) if found or kind == "label_set" else None


def _check_label_set(labels: tuple[str, ...]) -> None:
    if not labels or any(not label.strip() or label != label.strip() for label in labels):
        raise OptionError("--labels must name at least one label, none of them blank or edged by spaces.")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise OptionError(f'--labels names "{twice}" twice; name each label once.')


def _unique_id(row: dict[str, Any], column: str, where: str, row_name: str, known: dict[str, str]) -> str:
    """The row's id, entered into `known` (id → row name). Raises DataError: none, or repeated."""
    example_id = as_text(row.get(column))
    if example_id is None:
        raise DataError(f'{where} has no id in column "{column}"; fill it in, or leave out --id-column.')
    if example_id in known:
        raise DataError(f'{where} has the same id as {known[example_id]}, "{example_id}"; every id must be unique.')
    known[example_id] = row_name
    return example_id


def _check_no_shared_ids(splits: dict[str, list[Example]]) -> None:
    split_of: dict[str, str] = {}
    for split, examples in splits.items():
        for example in examples:
            if example.id in split_of:
                raise DataError(
                    f'The id "{example.id}" is in the {split_of[example.id]} split and in the {split} split; '
                    "a text must be in one split only, and every id must be unique."
                )
            split_of[example.id] = split


def _inferred(splits: dict[str, list[Example]], source: str, label_column: str, kind: TargetKind) -> tuple[str, ...]:
    labels = sorted({label for examples in splits.values() for e in examples for label in e.labels or ()})
    if len(labels) < (2 if kind == "single_label" else 1):
        found = f'only the label "{labels[0]}"' if labels else "no label at all"
        raise DataError(
            f'{source} has {found} in column "{label_column}", so there is nothing to learn; '
            "check --label-column, or name all labels with --labels."
        )
    return tuple(labels)


def _in_order(example: Example, labels: Sequence[str], kind: TargetKind) -> Example:
    """`example` with its labels in the order of the label set."""
    if example.labels is None:
        return example
    given = set(example.labels)
    in_order = tuple(label for label in labels if label in given)
    return dataclasses.replace(example, target=label_target(kind, in_order))
