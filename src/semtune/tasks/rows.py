"""Rows of {"id", "text", "labels"} as examples: the format of the shared task's files and of the practice set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from semtune.errors import DataError
from semtune.records import Example, LabelSet
from semtune.tasks.characters import check_characters, is_blank
from semtune.tasks.files import kind_of
from semtune.tasks.label_names import unknown_name
from semtune.tasks.remarks import shown
from semtune.tasks.written_float import WrittenFloat


def examples_from_rows(
    rows: Iterable[tuple[str, dict[str, Any]]], labels: Sequence[str], *, must_be_labelled: bool
) -> list[Example]:
    """Check `rows` and convert them to examples, whose labels are unique and in the order of `labels`.

    Each row comes with its location for messages ("dev.jsonl, line 3"). Where not `must_be_labelled`, a row without
    the key "labels" is an unlabelled example.

    Raises DataError: a missing or repeated id, a missing or blank text, missing labels, an unknown label.
    """
    examples: list[Example] = []
    known: dict[str, str] = {}
    for where, row in rows:
        example_id = checked_id(row, where, known)
        text = row.get("text")
        if not isinstance(text, str) or is_blank(text):
            raise DataError(f'{where} (id "{example_id}") has no text; give it one under "text" or remove the row.')
        check_characters(text, "text", where)
        target: LabelSet | None = None
        if "labels" in row:
            target = LabelSet(checked_labels(row["labels"], labels, f'{where} (id "{example_id}")'))
        elif must_be_labelled:
            raise DataError(f'{where} (id "{example_id}") has no "labels"; only a test split may be unlabelled.')
        examples.append(Example(id=example_id, text=text, target=target))
    return examples


def checked_id(row: dict[str, Any], where: str, known: dict[str, str]) -> str:
    """The row's id as a string, entered into `known` (id → location). Raises DataError: none, or repeated."""
    value = row.get("id")
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f'{where} has no "id"; every row needs one, a string or a whole number.')
    if isinstance(value, WrittenFloat):
        text = shown(str(int(value)) if value.is_integer() else value.written)
        raise DataError(
            f'{where} has no "id" that is a string or a whole number but {value.written}, which may be written in '
            f"several ways; write the string that the data have, such as {text}."
        )
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataError(f'{where} has no "id" that is a string or a whole number but {kind_of(value)}; write one.')
    example_id = str(value)
    if example_id in known:
        raise DataError(f'{where} has the same id as {known[example_id]}, "{example_id}"; every id must be unique.')
    known[example_id] = where
    return example_id


def checked_labels(value: Any, labels: Sequence[str], where: str) -> tuple[str, ...]:
    """`value` as labels, once each and in the order of `labels`. Raises DataError: not a list, or an unknown label."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f'{where}: "labels" must be a list of strings, empty where no label applies.')
    given = {checked_label(label, labels, where) for label in value}
    return tuple(label for label in labels if label in given)


def checked_label(value: Any, labels: Sequence[str], where: str) -> str:
    """`value` as one of `labels`. Raises DataError: an unknown label."""
    if value not in labels:
        raise DataError(f'{where} has the unknown label "{value}"; {unknown_name(str(value), labels)}')
    return str(value)
