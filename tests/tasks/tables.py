"""Tables written for tests, and what semtune reads from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError, OptionError
from semtune.records import Example, TaskOptions
from semtune.tasks.table import Table

LABELS = ("sunny", "cloudy", "windy")
ROWS = [(f"the harbour felt warm number {i}", LABELS[i % 3]) for i in range(24)]
HEADER = ("text", "label")


def table(path: Path, **options: Any) -> Table:
    return Table(TaskOptions(data=str(path), **options))


def read(path: Path, **options: Any) -> list[Example]:
    """All examples of a file in the order of its rows."""
    task = table(path, **options)
    found = [e for split in ("train", "dev", "test") for e in task.load(split)]
    return sorted(found, key=lambda e: int(e.id))


def pairs(path: Path, **options: Any) -> list[tuple[str, str]]:
    return [(e.text, "+".join(e.labels or ())) for e in read(path, **options)]


def notes(path: Path, **options: Any) -> str:
    return "\n".join(table(path, **options).notes)


def save(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def joined(rows: list[tuple[str, ...]], separator: str, end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises((DataError, OptionError)) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
