"""Small JSON files that strategies write and read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semtune.errors import ModelError
from semtune.records import Example
from semtune.records.targets import label_target
from semtune.runtime import files


def write_json(file: Path, value: Any) -> None:
    """Write `value` to `file`, in UTF-8."""
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_json(file: Path, what: str, take: Callable[[Any], None]) -> None:
    """Hand the value of `file` to `take`. Raises ModelError where it is missing, broken, or not as `take` needs."""
    try:
        take(files.read_json(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{file} does not hold {what}; run it again.") from error


def plain_example(example: Example) -> dict[str, Any]:
    """A labelled example as plain values."""
    kind = None if example.target is None else example.target.kind
    dated = {} if example.date is None else {"date": example.date}
    return {"id": example.id, "text": example.text, "kind": kind, "labels": list(example.labels or ()), **dated}


def cited_example(example: Example, similarity: float | None = None) -> dict[str, Any]:
    """An example as a transcript's notes cite it: its id, its date and its similarity to the text, where known."""
    dated = {} if example.date is None else {"date": example.date}
    return {"id": example.id, **dated, **({} if similarity is None else {"similarity": round(similarity, 6)})}


def example_from(value: Any) -> Example:
    """The example of `plain_example`. Raises KeyError, TypeError, ValueError."""
    target = label_target(value["kind"], tuple(str(label) for label in value["labels"]))
    return Example(str(value["id"]), str(value["text"]), target, date=value.get("date"))
