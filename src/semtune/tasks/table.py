"""A user's labelled texts: a CSV, TSV, JSON, JSON lines or Parquet file, a folder of split files, or a hub data set.

The user names the columns. The task is multi-label where a label separator was given or a label cell is a list, and
single-label otherwise. Splits that are not given are made from the training rows (see `splits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semtune.errors import DataError, OptionError
from semtune.records import Example, TargetKind, TaskOptions
from semtune.tasks.annotations import check_one_annotator, remark_unaccepted
from semtune.tasks.base import SPLITS, BaseTask
from semtune.tasks.cells import text_of
from semtune.tasks.dates import plain_date
from semtune.tasks.decoding import check_one_encoding, path_of
from semtune.tasks.dialect import checked_separator
from semtune.tasks.find_column import find_column
from semtune.tasks.footers import rows_without
from semtune.tasks.header import LABEL_COLUMNS, TEXT_COLUMNS
from semtune.tasks.inner_splits import inner_split_notes
from semtune.tasks.label_cells import LabelCells
from semtune.tasks.label_notations import checked_label_separator
from semtune.tasks.label_set import absent_label_notes, check_label_set, in_label_order, labels_in
from semtune.tasks.more_labels import more_label_notes
from semtune.tasks.near_ids import id_notes
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.review import label_notes, with_empty_test_hidden, with_hidden_labels
from semtune.tasks.row_groups import group_notes
from semtune.tasks.row_ids import check_no_shared_ids, unique_id
from semtune.tasks.row_weights import weight_notes
from semtune.tasks.split_column import check_no_split_column, split_by_column
from semtune.tasks.split_files import read_split, read_tables, split_paths
from semtune.tasks.splits import make_splits
from semtune.tasks.table_files import RawTable, suffix_of, wanted_columns
from semtune.tasks.wrapped import lone_quote_notes


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The content of the tables: examples by split, labels, kind of target, notes."""

    labels: tuple[str, ...]
    kind: TargetKind
    splits: dict[str, list[Example]]
    made: tuple[str, ...]
    """The splits that semtune made of the training rows."""
    data_notes: tuple[str, ...]
    group_notes: tuple[str, ...]
    """Of train and dev, for runs that divide them into folds."""


class Table(BaseTask):
    """Registered as "table". The data are read on first use of `labels`, `target_kind`, `notes` or `load`."""

    name = "table"
    usable_options = frozenset(
        {"data", "dev_data", "test_data", "text_column", "label_column", "id_column", "label_separator", "labels"}
        | {"date_column", "split_column"}
        | {"encoding", "separator", "quoting", "split_seed", "dev_fraction", "test_fraction"}
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
        checked_label_separator(options.label_separator)
        if options.separator is not None:
            checked_separator(options.separator)
        if options.labels is not None:
            check_label_set(options.labels)
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
        """Which splits semtune made, and `data_notes`. Raises DataError."""
        found = self._all()
        if not found.made:
            return found.data_notes
        seed = self.options.split_seed
        made = f"{' and '.join(found.made)} split off the training rows by semtune (stratified, seed {seed})"
        return (made, *found.data_notes)

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What reading converted, left out or found out, and doubtful labels. Raises DataError."""
        return self._all().data_notes

    @property
    def made_splits(self) -> tuple[str, ...]:
        """The splits that were not given. Raises DataError."""
        return self._all().made

    @property
    def group_notes(self) -> tuple[str, ...]:
        """Columns of train and dev whose rows belong together in groups that folds divide. Raises DataError."""
        return self._all().group_notes

    def _read(self, split: str) -> list[Example]:
        return self._all().splits[split]

    def _all(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = self._read_all()
        return self._loaded

    def _read_all(self) -> _Loaded:
        options = self.options
        tables = self._tables()
        text_column = find_column(tables["train"], options.text_column, TEXT_COLUMNS, "text")
        label_column = find_column(tables["train"], options.label_column, LABEL_COLUMNS, "label")
        if text_column == label_column:
            raise OptionError(
                f'The column "{text_column}" is named for the texts and for the labels; name two columns.'
            )
        for table in tables.values():
            check_one_annotator(table, label_column)
        cells = {t.source: [(where, row.get(label_column)) for where, row in t.rows] for t in tables.values()}
        reader = LabelCells(label_column, checked_label_separator(options.label_separator), options.labels, cells)
        kind = reader.kind
        splits: Mapping[str, Sequence[Example]] = {}
        notes = [*reader.notes]
        for split, table in tables.items():
            remarks = Remarks(table.source)
            examples = self._examples(table, split, text_column, reader, remarks, prefix=len(tables) > 1)
            splits = {**splits, split: examples}
            notes += [*table.notes, *remarks.notes]
        check_no_shared_ids(splits)
        if options.id_column is not None:
            notes += id_notes(e.id for examples in splits.values() for e in examples)
        splits, hidden = with_hidden_labels(splits) if options.labels is None else with_empty_test_hidden(splits)
        notes += hidden
        labels = options.labels or labels_in(splits, tables["train"].source, label_column, kind)
        notes += absent_label_notes(labels, splits)
        notes += label_notes(splits, kind, named=options.labels is not None, listed=reader.listed)
        notes += lone_quote_notes(labels if options.labels is None else ())
        held = {split: [in_label_order(e, labels, kind) for e in examples] for split, examples in splits.items()}
        fractions = {"dev": options.dev_fraction, "test": options.test_fraction}
        made = tuple(split for split in SPLITS if split not in held and fractions[split] > 0)
        unread = {split: self._unnamed_columns(tables[split]) for split in ("train", "dev") if split in tables}
        if made:
            held |= make_splits(held["train"], {split: fractions[split] for split in made}, options.split_seed)
            said = [row.get(label_column) for _, row in tables["train"].rows]
            notes += group_notes(tables["train"].source, unread["train"], "splits", said)
        held.setdefault("test", [])
        notes += weight_notes(tables["train"].source, unread["train"])
        notes += more_label_notes(tables["train"], label_column, {text_column, options.id_column, options.date_column})
        notes += _without_effect(options, made)
        joined = {name: [cell for own in unread.values() for cell in own.get(name, ())] for name in unread["train"]}
        said = [row.get(label_column) for split in unread for _, row in tables[split].rows]
        groups = group_notes(tables["train"].source, joined, "folds", said)
        return _Loaded(labels, kind, held, made, tuple(dict.fromkeys(notes)), tuple(groups))

    def _tables(self) -> dict[str, RawTable]:
        """The given splits: --data, and --dev-data and --test-data beside it. Raises DataError, OptionError."""
        tables = self._tables_of_files()
        if self.options.split_column is not None:
            return split_by_column(tables, self.options.split_column)
        train = tables["train"]
        columns = self._unnamed_columns(train)
        notes = check_no_split_column(train.source, columns, "--split-column {}")
        ids = self.options.id_column
        columns |= {} if ids is None else {ids: [row.get(ids) for _, row in train.rows]}
        notes += inner_split_notes(train.source, columns, "--split-column {}")
        return {**tables, "train": dataclasses.replace(train, notes=(*train.notes, *notes))}

    def _unnamed_columns(self, table: RawTable) -> dict[str, list[Any]]:
        """The cells of columns that the options do not name."""
        named = {*wanted_columns(self.options), self.options.date_column, self.options.split_column}
        return {name: [row.get(name) for _, row in table.rows] for name in table.columns if name not in named}

    def _tables_of_files(self) -> dict[str, RawTable]:
        assert self.options.data is not None  # __init__ checked
        paths = [path for path in split_paths(self.options) if suffix_of(path) != ".parquet"]
        if self.options.encoding != TaskOptions().encoding:
            check_one_encoding(paths)
        try:
            tables = read_tables(self.options)
            for split, data in (("dev", self.options.dev_data), ("test", self.options.test_data)):
                if data is None:
                    continue
                if split in tables:
                    raise OptionError(f"{self.options.data} has a {split} split already; leave out --{split}-data.")
                tables[split] = read_split(path_of(data), self.options)
        except DataError:
            check_one_encoding(paths)
            raise
        return tables

    def _examples(
        self, table: RawTable, split: str, text_column: str, reader: LabelCells, remarks: Remarks, *, prefix: bool
    ) -> list[Example]:
        """The rows of one table; `prefix`: generated ids begin with the split's name, to be unique among tables."""
        find_column(table, text_column, (), "text")
        if split != "test":
            find_column(table, reader.column, (), "label")
        if self.options.id_column is not None:
            find_column(table, self.options.id_column, (), "id")
        dates = None
        if self.options.date_column is not None:
            dates = find_column(table, self.options.date_column, (), "date")
        labelled = reader.column in table.columns
        if not labelled:
            _check_no_near_column(table, reader.column)
            remarks.general(
                f'has no column "{reader.column}" (its columns: {", ".join(map(shown, table.columns))}), so the split '
                "is predicted but not scored"
            )
        examples: list[Example] = []
        known: dict[str, str] = {}
        for number, (row_name, row) in enumerate(table.rows, start=1):
            where = f"{table.source}, {row_name}"
            text = text_of(row.get(text_column), text_column, row_name, remarks)
            if text is None:
                raise DataError(
                    f'{where} has no text in column "{text_column}"; fill it in or remove the row'
                    f"{rows_without(table.rows, text_column)}."
                )
            remark_unaccepted(row, {text_column, reader.column}, row_name, remarks)
            example_id = f"{split}-{number}" if prefix else str(number)
            if self.options.id_column is not None:
                example_id = unique_id(row, self.options.id_column, row_name, remarks, known)
            target = (
                reader.target(row.get(reader.column), row_name, remarks, may_hide=split == "test") if labelled else None
            )
            if target is None and split != "test":
                raise DataError(
                    f'{where} has no label in column "{reader.column}"; fill it in or remove the row'
                    f"{rows_without(table.rows, reader.column)}; a text may have no label only in multi-label data "
                    "(see --label-separator)."
                )
            date = plain_date(row.get(dates), where) if dates is not None else None
            examples.append(Example(id=example_id, text=text, target=target, date=date))
        hidden = [e.id for e in examples if e.target is None]
        if 0 < len(hidden) < len(examples):
            remarks.general(
                f"{len(hidden):,} of {len(examples):,} texts have no label (first: id {shown(hidden[0])}), so the "
                "split is predicted but not scored; fill them in, or remove the rows"
            )
        return examples


def _check_no_near_column(table: RawTable, column: str) -> None:
    """Raises DataError where a table has the label column under nearly its name: the labels would be lost."""
    usual = LABEL_COLUMNS if column in LABEL_COLUMNS else (column,)
    names = {name.strip().casefold() for name in usual}
    near = next((c for c in table.columns if c.strip().casefold() in names), None)
    if near is not None:
        raise DataError(
            f'{table.source} has no column "{column}" but a column "{near}"; name them alike in both tables.'
        )


def _without_effect(options: TaskOptions, made: Sequence[str]) -> list[str]:
    """Notes on options for splits that semtune makes, where it makes none."""
    plain = TaskOptions()
    idle = [f"--{split}-fraction" for split in ("dev", "test") if split not in made]
    idle = [flag for flag in idle if getattr(options, _field(flag)) not in (getattr(plain, _field(flag)), 0)]
    if not made and options.split_seed != plain.split_seed:
        idle.append("--split-seed")
    return (
        [f"{' and '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect, as these splits are given"]
        if idle
        else []
    )


def _field(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
