"""A column that says which split each row belongs to (`--split-column`), and one that seems to, but is not named.

Two forms are read: words such as train, Validation or "Test set", and true or false under a name such as is_test. A
column that seems to be one of them, and is not named, would be passed over and its test rows trained on: it is refused
where name and cells leave little doubt, and noted where they leave some, such as with the numbers of folds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semtune.errors import DataError, OptionError
from semtune.tasks.base import SPLITS
from semtune.tasks.characters import is_blank, visible
from semtune.tasks.find_column import find_column
from semtune.tasks.remarks import shown
from semtune.tasks.split_words import DEVELOPMENT_WORDS, plain_word, split_hints, split_of, word_forms
from semtune.tasks.table_files import RawTable
from semtune.tasks.yes_no import FALSE, TRUE

USUAL_NAMES = frozenset(
    {"split", "splits", "set", "subset", "dataset", "partition", "fold", "folds", "kfold", "part", "usage", "phase"}
    | {"traintest", "testtrain", "trainvaltest", "datasplit", "mluse"}
    | {"conjunto", "jeu", "ensemble", "datensatz", "aufteilung", "insieme", "partición", "partição", "cohort", "coorte"}
)
"""Names that such a column often has, or words in them."""
_OUTRIGHT = frozenset({"split", "splits", "partition", "fold", "folds", "kfold", "traintest", "datasplit", "mluse"})
"""Those that hardly name anything else."""
_NO_SPLIT = frozenset(
    {"", "none", "null", "nan", "na", "n/a", "-", "?", "unsupervised", "unsup", "unlabeled", "unlabelled", "extra"}
    | {"unused", "ignore", "ignored", "exclude", "excluded", "other", "unassigned"}
)
"""What such a column says of rows that belong to no split."""
_FALSE_OR_BLANK = FALSE | {"", "none", "nan"}
_KNOWN_SHARE = 0.75
"""Share of the cells that must name a split, or no split, in a column that is refused."""
_FEW_VALUES = 20
"""Most different cells of a column that assigns rows to folds or splits."""
_LONGEST = 40
"""Most characters of a cell that names a split."""
_ASKING = frozenset({"is", "in", "used", "use", "for", "ist", "est", "es"})
"""Words before a split's name in the name of a column of true and false."""
_FLAG_ENDS = frozenset({"set", "split", "data", "row", "sample", "mask", "indicator"})
"""Words behind it."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W\d_]+")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Flag:
    """A column of true and false, such as is_test: the splits of either."""

    true: str
    false: str
    outright: bool
    """Whether the name hardly means anything else ("valid" may be about an annotation, "test" about anything)."""


def split_by_column(tables: Mapping[str, RawTable], column: str) -> dict[str, RawTable]:
    """The rows of the one table by what `column` says of them.

    Raises:
        OptionError: the data have their splits as files.
        DataError: no such column, a cell that names no split, no row to train on, or both dev and validation.
    """
    if len(tables) > 1:
        raise OptionError(
            f"--split-column {column} says which split a row belongs to, but {' and '.join(tables)} are files of their "
            "own; leave it out."
        )
    (table,) = tables.values()
    column = find_column(table, column, (), "split")
    flag = _flag_of(column, (row.get(column) for _, row in table.rows))
    rows: dict[str, list[tuple[str, dict[str, Any]]]] = {split: [] for split in SPLITS}
    written: Counter[str] = Counter()
    for where, row in table.rows:
        cell = row.get(column)
        word = plain_word(cell)
        written[word] += 1
        split = split_of(word) if flag is None else flag.true if word in TRUE else flag.false
        if split is None:
            found = shown("" if cell is None else str(cell))
            raise DataError(
                f'{table.source}, {where} has {found} in column "{column}", where train, dev (or validation) or test '
                f"is needed; {'write one of them there' if word else 'fill it in'} or remove the row."
            )
        rows[split].append((where, row))
    if not rows["train"]:
        raise DataError(f'{table.source} has no row whose column "{column}" says train; name another --split-column.')
    if flag is not None:
        said = f'{table.source}: rows whose column "{column}" is true were taken for {flag.true}, the others for'
        empty = f" ({blank} of them empty cells)" if (blank := written[""]) else ""
        notes = (*table.notes, f"{said} {flag.false}{empty}")
    else:
        notes = (*table.notes, *_joined_spellings(f'{table.source}: column "{column}"', written))
    return {
        split: replace(table, source=f"{table.source} ({split})", rows=tuple(own), notes=notes * (split == "train"))
        for split, own in rows.items()
        if own
    }


def _joined_spellings(source: str, written: Counter[str]) -> list[str]:
    """Notes on splits that a column names in several ways, case and white space at the ends aside.

    Raises DataError where the words mean different splits.
    """
    notes = []
    for split in SPLITS:
        words = [word for word in written if split_of(word) == split]
        kinds = {not DEVELOPMENT_WORDS.isdisjoint(word_forms(word)) for word in words}
        counts = [f"{shown(word)} ({written[word]:,} row{'s' * (written[word] != 1)})" for word in words]
        named = " and ".join(counts)
        if split == "dev" and len(kinds) > 1:
            raise DataError(
                f"{source} says {named}, which are both dev, the split that chooses the epoch; keep one of them, and "
                "write train or test in the rows of the other, or remove these."
            )
        if len(words) > 1:
            notes.append(f"{source} says {named}: all were taken for {split}")
    return notes


def check_no_split_column(source: str, columns: Mapping[str, Iterable[Any]], option: str) -> tuple[str, ...]:
    """Notes on columns that may say which split each row belongs to.

    Args:
        columns: cells by name of column, without the columns that the user names.
        option: how the user names a column of splits, such as "--split-column {}".

    Raises DataError where a column says so without much doubt: its rows would be split anew.
    """
    notes: list[str] = []
    for name, cells in columns.items():
        flag = _flag_name(name)
        usual = not USUAL_NAMES.isdisjoint(_words_of(name))
        counts = _counted(cells)
        named = flag is None and _names_splits(counts)
        named_option = option.format(name if " " not in name or '"' in option else f'"{name}"')
        if flag is not None and _is_flag(counts):
            said = f'a column "{name}" of true and false'
            use = f"use it with {named_option} (true: {flag.true}, false: {flag.false})"
            refused = flag.outright
        elif named:
            said = f'a column "{name}", which says {_said(counts)}'
            other = [word for word in counts if split_of(word) is None]
            use = f"use it with {named_option}"
            if len(other) < len(counts) and "train" not in map(split_of, counts):
                said = f'a column "{name}" ({_list(list(counts))})'
                use = f"write train, dev or test there and {use}"
            elif other:
                use = f"write train, dev or test where it says {_list(other)}, or remove these rows, and {use}"
            refused = usual and _share_of_known(counts) >= _KNOWN_SHARE
        elif not _words_of(name).isdisjoint(_OUTRIGHT) and 1 < len(counts) <= min(_FEW_VALUES, counts.total() / 2):
            said = f'a column "{name}" ({_list(list(counts))})'
            use = f"write train, dev or test into a column and use it with {option.format('NAME')}"
            refused = False
        else:
            continue
        if refused:
            raise DataError(
                f"{source} has {said}, but all rows would be taken for training and split anew; {use}, or rename it."
            )
        other_meaning = "; if it says whether a row is valid, remove those that are not" if _may_be_valid(name) else ""
        notes.append(
            f"{source}: has {said}, which is not read; if it says which split a row belongs to, {use}{other_meaning}"
        )
    return tuple(notes)


def _counted(cells: Iterable[Any]) -> Counter[str]:
    """How often each word occurs; nothing where the cells are long or of many kinds, as no split's are."""
    raw: Counter[str] = Counter()
    for cell in cells:
        written = "" if cell is None else str(cell)
        raw[written] += 1
        if len(written) > _LONGEST or len(raw) > 2 * _FEW_VALUES:
            return Counter()
    counts: Counter[str] = Counter()
    for written, count in raw.items():
        counts[plain_word(written)] += count
    return counts


def _names_splits(counts: Mapping[str, int]) -> bool:
    """Whether cells say train of some rows and something else of a split of others.

    A development cohort beside a validation cohort is what a model is made from.
    """
    if {"development", "validation"} <= counts.keys():
        return True
    held = [{found} if (found := split_of(word)) is not None else split_hints(word) for word in counts]
    return {"train"} in held and any(hints - {"train"} for hints in held)


def _share_of_known(counts: Counter[str]) -> float:
    known = sum(n for word, n in counts.items() if split_of(word) or split_hints(word) or word in _NO_SPLIT)
    return known / counts.total()


def _said(counts: Mapping[str, int]) -> str:
    """What the cells say, splits first, and of how many rows they say nothing."""
    splits = {split_of(word) for word in counts}
    others = [word for word in counts if split_of(word) is None and not is_blank(word)]
    parts = [*(split for split in SPLITS if split in splits), *map(shown, others[:_SHOWN])]
    blank = sum(n for word, n in counts.items() if is_blank(word))
    nothing = [f"nothing in {blank} row{'' if blank == 1 else 's'}"] if blank else []
    return " and ".join([*parts, *nothing])


def _list(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join("nothing" if not word else shown(word) for word in words[:_SHOWN]) + more


def _words_of(name: str) -> set[str]:
    """The words in a column's name, in lower case, and all of them as one."""
    words = [word.casefold() for word in _CAMEL.split(visible(name)) if word]
    return {*words, "".join(words)}


def _flag_name(name: str) -> _Flag | None:
    """What true and false mean in a column of this name; None: it names no split."""
    words = [word.casefold() for word in _CAMEL.split(visible(name)) if word]
    words = [word for word in words if word != "flag"] or words  # what it flags may also be a test of the shop
    size = len(words)
    while len(words) > 1 and words[0] in _ASKING:
        words = words[1:]
    asked = len(words) < size
    while len(words) > 1 and words[-1] in _FLAG_ENDS:
        words = words[:-1]
    word = "".join(words)
    split = split_of(word) or ("test" if word in {"eval", "evaluation", "holdout", "heldout"} else None)
    if split is None:
        return None
    return _Flag(split, "test" if split == "train" else "train", asked and word not in ("valid", "val"))


def _may_be_valid(name: str) -> bool:
    return not _words_of(name).isdisjoint({"valid", "validated"})


def _is_flag(counts: Mapping[str, int]) -> bool:
    return len(counts) > 1 and set(counts) <= TRUE | _FALSE_OR_BLANK and not TRUE.isdisjoint(counts)


def _flag_of(column: str, cells: Iterable[Any]) -> _Flag | None:
    """What a column named by the user means where it holds true and false; None: it holds words."""
    counts = _counted(cells)
    filled = set(counts) - {""}
    return _flag_name(column) if filled and filled <= TRUE | _FALSE_OR_BLANK else None


def says_splits(name: str, cells: Iterable[Any]) -> str | None:
    """What cells under a name say of splits, to stand behind the name; None: nothing."""
    counts = _counted(cells)
    if _flag_name(name) is not None:
        return " (true and false)" if _is_flag(counts) else None
    return f", which says {_said(counts)}" if _names_splits(counts) else None
