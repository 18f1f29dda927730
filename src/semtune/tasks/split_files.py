"""The tables of a user's splits: one file, the files of a folder by their names, or a data set of the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.decoding import path_of
from semtune.tasks.hub import HUB, read_hub
from semtune.tasks.shards import check_shards, without_shard
from semtune.tasks.table_files import LINES_SUFFIX, SPREADSHEETS, SUFFIXES, RawTable, read_table, suffix_of

SPLIT_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "development"),
    "test": ("test", "testing"),
}
"""Usual names of the three splits, in file names, cells and on the hub."""
SPLIT_OF_NAME = {name: split for split, names in SPLIT_NAMES.items() for name in names}
DATA_SUFFIXES = frozenset(
    {*SPREADSHEETS, ".arrow", ".feather", ".zip", ".7z", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".pkl", ".pickle"}
    | {".h5", ".hdf5", ".sqlite", ".db", ".xml", ".html", ".doc", ".docx", ".dat", ".orc", ".avro", ".sav", ".dta"}
    | {".data", ".rds", ".rda", ".rdata", ".conll", ".conllu", ".iob", ".bio", ".svm", ".libsvm", ".arff", ".mat"}
    | {".npy", ".npz", ".tfrecord", ".msgpack", ".rar", ".lz4"}
)
"""Suffixes of files that hold data and cannot be read."""
NO_DATA_SUFFIXES = frozenset(
    {".py", ".ipynb", ".r", ".sh", ".js", ".md", ".rst", ".log", ".toml", ".cfg", ".ini", ".pdf"}
)
"""Suffixes of files that only share the name of a split, such as the program test.py."""


def read_tables(options: TaskOptions) -> dict[str, RawTable]:
    """The tables in `options.data` by split: a file is {"train": …}; a folder or hub data set has the splits it has.

    Raises DataError: nothing there, no train split, an unknown format, or a broken, empty or wrongly encoded file.
    """
    assert options.data is not None
    if options.data.startswith(HUB):
        return read_hub(options.data.removeprefix(HUB), SPLIT_NAMES)
    path = path_of(options.data)
    if not path.is_dir():
        return {"train": read_split(path, options)}
    held, folders = _held(path)
    there = [file for file in held if suffix_of(file) in SUFFIXES]
    tables: dict[str, RawTable] = {}
    passed_over: list[str] = []
    for split, names in SPLIT_NAMES.items():
        files = [file for name in names for file in there if _split_name(file) == name]
        there = [file for file in there if file not in files]
        if not files and not (split != "train" and getattr(options, f"{split}_data")):
            _check_no_unreadable(held, folders, split)
            passed_over += _passed_over([*held, *folders], split)
        elif files:  # other files of that name are copies, as a rule: the workbook, the archive
            passed_over += _passed_over(folders, split)
        check_shards(files, SPLIT_OF_NAME)
        if len(files) > 1:
            found = ", ".join(file.name for file in files)
            raise DataError(f"{path} has several files for the {split} split ({found}); keep one, or join them.")
        if files:
            tables[split] = read_split(files[0], options)
    if "train" not in tables:
        raise DataError(
            f"{path} holds no train file; it needs train.csv (or {', '.join(s[1:] for s in SUFFIXES[1:])}), and may "
            "hold dev and test files."
        )
    left_out = [file.name for file in there if suffix_of(file) != LINES_SUFFIX]
    if left_out:
        note = f"{path}: left out {', '.join(left_out)}, whose names are none of train, dev (or validation) and test"
        tables["train"] = replace(tables["train"], notes=(*tables["train"].notes, note))
    if passed_over:
        note = f"{path}: left out {', '.join(passed_over)}, whose names are those of splits, but which are no tables"
        tables["train"] = replace(tables["train"], notes=(*tables["train"].notes, note))
    return tables


def read_split(path: Path, options: TaskOptions) -> RawTable:
    """The table of a split that is one file. Raises DataError, also where its name says that shards are missing."""
    notes = check_shards([path], SPLIT_OF_NAME)
    table = read_table(path, options)
    return replace(table, notes=(*table.notes, *notes))


def are_txt_tables(options: TaskOptions) -> bool:
    """Whether the data of a run are, or include, a table in a .txt file; False where they are gone."""
    return any(suffix_of(file) == LINES_SUFFIX for file in split_paths(options))


def split_paths(options: TaskOptions) -> list[Path]:
    """The files of all splits, those of the hub and those that are gone aside."""
    found: list[Path] = []
    for data in (options.data, options.dev_data, options.test_data):
        if data is None or data.startswith(HUB):
            continue
        try:
            path = path_of(data)
        except DataError:  # this system can have no such path
            continue
        found += [file for file in _held(path)[0] if _split_name(file) in SPLIT_OF_NAME] if path.is_dir() else [path]
    return found


def _held(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder, and the folders in it, by name. Raises DataError."""
    try:
        held = sorted(folder.iterdir())
        return [path for path in held if path.is_file()], [path for path in held if path.is_dir()]
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error}).") from error


def _split_name(file: Path) -> str:
    """What a file's name says about its split."""
    return without_shard(file.name)


def _passed_over(paths: Iterable[Path], split: str) -> list[str]:
    """The names of files and folders that have the name of a split, and may be it."""
    return [
        f"{path.name}/" if path.is_dir() else path.name
        for path in paths
        if SPLIT_OF_NAME.get(_split_name(path)) == split and path.suffix.lower() not in NO_DATA_SUFFIXES
    ]


def _check_no_unreadable(files: Iterable[Path], folders: Iterable[Path], split: str) -> None:
    """Raises DataError where a split is there, in a format that cannot be read or in a folder of its own."""
    for file in files:
        if SPLIT_OF_NAME.get(_split_name(file)) == split and suffix_of(file) in DATA_SUFFIXES:
            advice = "save its sheet as CSV (UTF-8)" if suffix_of(file) in SPREADSHEETS else "convert it to CSV"
            raise DataError(
                f"{file} would be the {split} split, but is in no format that can be read; {advice}, or move it out "
                "of the folder."
            )
    for folder in folders:
        if SPLIT_OF_NAME.get(_split_name(folder)) != split:
            continue
        data = next((file for file in _held(folder)[0] if suffix_of(file) in {*SUFFIXES, *DATA_SUFFIXES}), None)
        if data is not None:
            raise DataError(
                f"{data} would be of the {split} split, but a folder in --data is not read; put its rows into one file "
                f"called {split}{data.suffix} beside the others."
            )
