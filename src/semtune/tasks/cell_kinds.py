"""What a cell that is no text holds, in words for messages, and how its column becomes one of labels.

Rows of Parquet come as pyarrow's `to_pylist` gives them: a struct is a dict, a map is a list of (key, value) tuples.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from typing import Any

from semtune.tasks.remarks import shown

KEYS_SHOWN = 4
"""Number of keys that a message lists."""


def kind_of_cell(value: Any) -> str:
    """What a cell holds, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float, decimal.Decimal)):
        return f"a number ({value})"
    if _is_map(value):
        return f"a map with {_keys(key for key, _ in value)}"
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, dict) for item in value):
            return f"a list of objects with {_keys(_keys_of_items(value))}"
        if any(map(_is_map, value)):
            return "a list of maps"
        return "a list of lists" if any(isinstance(item, (list, tuple)) for item in value) else "a list"
    if isinstance(value, dict):
        return f"an object with {_keys(value)}" if value else "an empty object"
    if isinstance(value, datetime.timedelta):
        return f"a duration ({value})"
    if isinstance(value, datetime.time):
        return f"a time ({value})"
    if isinstance(value, datetime.date):
        return f"a date ({value})"
    return f"a value of the kind {type(value).__name__}"


def flattening(value: Any) -> str:
    """What to do with a column of such cells, so that it holds labels."""
    if _is_map(value) or (isinstance(value, list) and any(map(_is_map, value))):
        return "write the keys (or values) that are labels as a list of texts, or the one label as a text"
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        key = next(iter(_keys_of_items(value)), None)
        such = "" if key is None else f", such as those of {shown(str(key))}"
        return f"write a list of the values that are labels{such}"
    if isinstance(value, (list, tuple)):
        return "join its inner lists into one list of labels, or keep the item that is the label"
    if isinstance(value, dict):
        key = shown(str(next(iter(value), "name")))
        return f"put the value that is the label, such as that of {key}, into a column of its own"
    if isinstance(value, datetime.timedelta):
        return "write it as a text or as a number of seconds, if it is a label"
    return "write it as a text, if it is a label"


def _is_map(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, tuple) and len(i) == 2 for i in value)


def _keys_of_items(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(key for item in items if isinstance(item, dict) for key in item))


def _keys(keys: Iterable[Any]) -> str:
    """ "the key "a"", or "the keys "a", "b"", the first few of them."""
    names = [shown(str(key)) for key in keys]
    more = ", …" if len(names) > KEYS_SHOWN else ""
    return f"the key{'' if len(names) == 1 else 's'} {', '.join(names[:KEYS_SHOWN])}{more}"
