"""Rows of {"id", "text", "labels"} as examples: the format of the shared task's files and of the practice set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from semtune.errors import DataError, did_you_mean
from semtune.records import Example


def examples_from_rows(
    rows: Iterable[tuple[str, dict[str, Any]]], labels: Sequence[str], *, must_be_labelled: bool
) -> list[Example]:
    """Check `rows` and make examples of them; labels come out once each and in the order of `labels`.

    Each row comes with its place for messages ("dev.jsonl, line 3"). Where not `must_be_labelled`, a row without the
    key "labels" is an unlabelled example.

    Raises DataError: a missing or repeated id, a missing or blank text, missing labels, an unknown label.
    """
    examples: list[Example] = []
    seen: dict[str, str] = {}
    for place, row in rows:
        example_id = checked_id(row, place, seen)
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f'{place} (id "{example_id}") has no text; give it one under "text" or remove the row.')
        found: tuple[str, ...] | None = None
        if "labels" in row:
            found = checked_labels(row["labels"], labels, f'{place} (id "{example_id}")')
        elif must_be_labelled:
            raise DataError(f'{place} (id "{example_id}") has no "labels"; only a test split may be unlabelled.')
        examples.append(Example(id=example_id, text=text, labels=found))
    return examples


def checked_id(row: dict[str, Any], place: str, seen: dict[str, str]) -> str:
    """The row's id as a string, entered into `seen` (id → place). Raises DataError: none, blank, or seen before."""
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(f'{place} has no "id"; every row needs one, a string or a whole number.')
    example_id = str(value)
    if example_id in seen:
        raise DataError(f'{place} has the same id as {seen[example_id]}, "{example_id}"; every id must be unique.')
    seen[example_id] = place
    return example_id


def checked_labels(value: Any, labels: Sequence[str], place: str) -> tuple[str, ...]:
    """`value` as labels, once each and in the order of `labels`. Raises DataError: not a list, or an unknown label."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f'{place}: "labels" must be a list of strings, empty where no label applies.')
    for label in value:
        if label not in labels:
            raise DataError(f'{place} has the unknown label "{label}"; {did_you_mean(label, labels)}')
    given = set(value)
    return tuple(label for label in labels if label in given)
