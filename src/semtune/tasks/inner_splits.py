"""Splits that a table names inside its cells: in objects, in lists such as tags, and in ids such as train-17."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from semtune.tasks.cells import written_list, written_object
from semtune.tasks.remarks import shown
from semtune.tasks.split_column import says_splits
from semtune.tasks.split_words import named_split

_DEEPEST = 5
"""Levels of objects and lists that are looked into."""
_LONGEST = 200
"""Most characters of an id or a path."""
_LONGEST_WRITTEN = 2000
"""Most characters of an object or list written out as text."""
_MOST_ITEMS = 20
"""Most items of a list such as tags."""
_KNOWN_SHARE = 0.75
"""Share of the lists that must name one split."""
_BETWEEN_WORDS = re.compile(r"[\W\d_]+")
_WRITTEN = re.compile(r"\s*[\[{][^\"']*[\"']")
"""The beginning of an object or list with text in it, written out as text."""


def inner_split_notes(source: str, columns: Mapping[str, Iterable[Any]], option: str) -> tuple[str, ...]:
    """Notes on columns whose cells seem to say inside which split each row belongs to.

    Args:
        columns: cells by name of column, without those of texts and labels.
        option: how the user names a column of splits, such as "--split-column {}".
    """
    found = (_found_inside(name, list(cells)) for name, cells in columns.items())
    use = f"put that into a column of its own and use it with {option.format('NAME')}"
    return tuple(
        f"{source}: {said}, which is not read; if that is the split which a row belongs to, {use}"
        for said in found
        if said is not None
    )


def _found_inside(name: str, cells: Sequence[Any]) -> str | None:
    """What the cells of a column say of splits, with where they say it; None: nothing."""
    if says_splits(name, cells) is not None:  # a column of its own
        return None
    cells = [_unwritten(cell) for cell in cells]
    if any(isinstance(cell, (dict, list)) for cell in cells):
        values: dict[str, list[Any]] = defaultdict(list)
        for cell in cells:
            for path, value in _values(cell, (), 0):
                values[path].append(value)
        for path, held in values.items():
            says = says_splits(path.rpartition(".")[2], held)
            if path and says is not None:
                return f"has {shown(path)} inside the objects of its column {shown(name)}{says}"
        named = [value for value in values.get("", ()) if value]
        says = says_splits("", named)
        if says is not None and len(named) >= _KNOWN_SHARE * len(cells):
            return f"has a column {shown(name)} of lists{says}"
        return None
    examples: dict[str, str] = {}
    for cell in cells:
        split = _split_inside(cell)
        if split is None:
            return None
        examples.setdefault(split, cell)
    if "train" not in examples or len(examples) < 2:
        return None
    return f"each cell of its column {shown(name)} has the name of a split in it ({', '.join(examples.values())})"


def _unwritten(cell: Any) -> Any:
    """A cell; the object or list in it where one is written out as text."""
    if not isinstance(cell, str) or len(cell) > _LONGEST_WRITTEN or not _WRITTEN.match(cell):
        return cell
    return written_object(cell) or written_list(cell) or cell


def _values(cell: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, Any]]:
    """(path, value) of the values in an object; of a list the split that one of its items names, "" for none."""
    if depth > _DEEPEST:
        return
    if isinstance(cell, dict):
        for key, value in cell.items():
            yield from _values(value, (*path, str(key)), depth + 1)
    elif isinstance(cell, list):
        for item in cell:
            if isinstance(item, (dict, list)):
                yield from _values(item, path, depth + 1)
        few = cell if len(cell) <= _MOST_ITEMS else ()
        named = {split for item in few if isinstance(item, str) and (split := named_split(item)) is not None}
        yield ".".join(path), named.pop() if len(named) == 1 else ""
    elif path:
        yield ".".join(path), cell


def _split_inside(cell: Any) -> str | None:
    """The one split that a word of an id or a path names; None: none does, several do, or it is a text."""
    if not isinstance(cell, str) or len(cell) > _LONGEST or any(map(str.isspace, cell)):
        return None
    words = _BETWEEN_WORDS.split(cell)
    named = {split for word in words if (split := named_split(word)) is not None}
    return named.pop() if len(named) == 1 else None
