"""Reads a data set of the hub. That needs the `datasets` package, which semtune does not install by itself."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from semtune.errors import DataError, first_line
from semtune.tasks.class_names import name_classes
from semtune.tasks.narrow_floats import shorten_column
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.table_files import RawTable, columns_of

HUB = "hub:"


def read_hub(name: str, split_names: Mapping[str, Sequence[str]]) -> dict[str, RawTable]:
    """The splits of a hub data set. Class numbers become class names. Raises DataError."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(f'Reading "{HUB}{name}" needs the datasets package; run pip install datasets.') from error
    try:
        found = datasets.load_dataset(name, **_no_scripts(datasets.load_dataset))
    except Exception as error:  # the library raises a dozen kinds: no network, no such set, a configuration needed
        if "trust_remote_code" in str(error) or "scripts are no longer supported" in str(error):
            raise DataError(
                f'The hub data set "{name}" is a Python script, which semtune never runs; give its files instead '
                "(CSV, JSON lines or Parquet)."
            ) from error
        raise DataError(f'The hub data set "{name}" cannot be read ({first_line(error)}); check its name.') from error
    tables: dict[str, RawTable] = {}
    taken = []
    for split, names in split_names.items():
        name_there = next((n for n in names if n in found), None)
        if name_there is None:
            continue
        taken.append(name_there)
        rows = [(f"row {n}", dict(row)) for n, row in enumerate(found[name_there], start=1)]
        remarks = Remarks(f"{HUB}{name} ({name_there})")
        for column, feature in found[name_there].features.items():
            shorten_column(rows, column, feature)
            if name_classes(rows, column, feature, remarks.source):
                remarks.general(f'class numbers in column "{column}" were read as the names in the data set')
        tables[split] = RawTable(remarks.source, columns_of(row for _, row in rows), tuple(rows), notes=remarks.notes)
    if "train" in tables and (others := [shown(other) for other in found if other not in taken]):
        note = f"{HUB}{name}: left out {', '.join(others)}, which are taken for none of train, dev and test"
        tables["train"] = replace(tables["train"], notes=(*tables["train"].notes, note))
    if "train" not in tables:
        raise DataError(f'The hub data set "{name}" has no train split; it has {", ".join(found)}.')
    return tables


def _no_scripts(load_dataset: Callable[..., Any]) -> dict[str, bool]:
    """Arguments by which a data set's own script is refused: versions before 4 ask or run it, later ones know none."""
    named = "trust_remote_code" in inspect.signature(load_dataset).parameters
    return {"trust_remote_code": False} if named else {}
