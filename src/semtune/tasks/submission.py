"""The submission format: a JSON list in UTF-8, one object a text.

    label_set, single_label   {"id": "…", "labels": ["…", …]}
    spans                     {"id": "…", "spans": [{"start": 0, "end": 5, "label": "…"}, …]}
    text                      {"id": "…", "text": "…"}

The first is the format of SemEval-2021 Task 6, subtasks 1 and 3. The organisers' format check
(format_checker/task1_3.py of their corpus) asks for both keys and known labels; ours also asks for unique ids. Whether
a completion parsed is not part of the format, so predictions that were read back all count as parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semtune.errors import DataError
from semtune.records import (
    FreeText,
    Prediction,
    Span,
    Spans,
    Target,
    TargetKind,
    TargetSpace,
    label_target,
    to_plain,
)
from semtune.runtime.files import write_json
from semtune.tasks.files import parse_json_list, read_text
from semtune.tasks.remarks import shown
from semtune.tasks.rows import checked_id, checked_label, checked_labels

FORMS: dict[TargetKind, str] = {
    "label_set": '[{"id": "…", "labels": ["…", …]}, …]',
    "single_label": '[{"id": "…", "labels": ["…"]}, …]',
    "spans": '[{"id": "…", "spans": [{"start": 0, "end": 5, "label": "…"}, …]}, …]',
    "text": '[{"id": "…", "text": "…"}, …]',
}
"""Kind of target -> what a file looks like, for messages."""
KEYS: dict[TargetKind, str] = {"label_set": "labels", "single_label": "labels", "spans": "spans", "text": "text"}
"""Kind of target -> the key of a row that is scored."""
_PREDICTED = re.compile(r"(?:^|[\W_])y?pred(?!icate)|^y_?hat$", re.IGNORECASE)
"""A key under which other programs write what a model predicted."""
_ANSWERS = frozenset(
    {"output", "model_output", "response", "model_response", "answer", "model_answer", "completion", "generation"}
    | {"generated", "generated_text", "result", "guess", "hypothesis"}
)
"""Keys under which programs that ask language models keep the answers (`semtune predict --json` writes "output")."""
_NEAR = {"labels": _ANSWERS | {"label"}, "text": frozenset({"output"})}
"""Key that is scored -> further keys under which its value may stand."""
_GIVEN = re.compile(
    r"gold|true|truth|reference|target|expected|actual|human|annotat|input|text|prompt|question|split|source|lang",
    re.IGNORECASE,
)
"""A part of keys under which a row may hold labels that are no output, such as "gold_labels", or a text."""
_ABOUT = re.compile(r"prob|score|logit|conf|second|time|token|loss|file|path", re.IGNORECASE)
"""A part of keys that say something about a prediction, such as "predicted_probability"."""


def write(predictions: Sequence[Prediction], path: Path) -> None:
    """Write `predictions` to `path` in one step. Raises OutputError."""
    rows = [{"id": p.id, **to_plain(p.output)} for p in predictions]
    write_json(path, rows)


def read(path: Path, space: TargetSpace, texts: Mapping[str, str] | None = None) -> list[Prediction]:
    """The predictions in `path`, labels in the order of the space's labels.

    Args:
        texts: the data's texts by id, to hold those in the file against.

    Raises DataError: a missing, empty or wrongly encoded file, broken JSON (with line and column), not a list of
    objects, a missing key, a repeated id, an unknown label, several labels where the task has one, an impossible
    span, a second output that says something else (the first may be the gold one), or another text than the data's.
    """
    predictions: list[Prediction] = []
    known: dict[str, str] = {}
    for number, row in enumerate(_rows(path, FORMS[space.kind]), start=1):
        where = f"{path}: row {number}"
        example_id = checked_id(row, where, known)
        where = f'{where} (id "{example_id}")'
        target = _READERS[space.kind](row, space, where)
        _check_one_output(row, KEYS[space.kind], space.labels, where)
        if KEYS[space.kind] != "text":
            _check_same_text(row.get("text"), (texts or {}).get(example_id), where)
        predictions.append(Prediction(id=example_id, output=target))
    return predictions


def _check_same_text(written: Any, own: str | None, where: str) -> None:
    """Raises DataError where a row holds another text than the data have under its id, white space aside."""
    if isinstance(written, str) and own is not None and written.split() != own.split():
        raise DataError(
            f"{where} has the text {shown(written)}, but the data have {shown(own)} under this id; predict these data, "
            'or leave "text" out of the file if it is not the text that was predicted.'
        )


def _rows(path: Path, form: str) -> list[dict[str, Any]]:
    """The objects of the list in `path`. Raises DataError, which says the `form` that is needed."""
    text = read_text(path)
    first, _, rest = text.strip().partition("\n")
    if first.startswith("{") and first.rstrip().endswith("}") and rest.strip():
        raise DataError(
            f"{path} holds JSON lines, but predictions are one JSON list, {form}; put the lines between [ and ], with "
            "a comma after each but the last."
        )
    try:
        return parse_json_list(text, path)
    except DataError as error:
        raise DataError(f"{error} Predictions are one JSON list: {form}.") from error


def _check_one_output(row: Mapping[str, Any], key: str, labels: Sequence[str], where: str) -> None:
    """Raises DataError where the row holds another output beside that under `key`, and they differ."""
    for other in _other_outputs(row, key, labels):
        if not _agree(row[key], row[other], key, labels):
            raise DataError(
                f'{where} has "{key}" and "{other}", which differ; "{key}" is what is scored, so write what was '
                f'predicted under "{key}", and leave the other out.'
            )


def _other_outputs(row: Mapping[str, Any], key: str, labels: Sequence[str]) -> list[str]:
    """The keys of `row` but `key` that may hold an output: by their names, or as they hold nothing but labels."""
    near = _NEAR.get(key, frozenset())
    return [
        other
        for other, value in row.items()
        if other not in (key, "id")
        and (
            other.casefold() in near
            or (_PREDICTED.search(other) and not _ABOUT.search(other))
            or (key == "labels" and _holds_labels(value, labels) and not _GIVEN.search(other))
        )
    ]


def _holds_labels(value: Any, labels: Sequence[str]) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, str) and item in labels for item in items)


def _agree(own: Any, other: Any, key: str, labels: Sequence[str]) -> bool:
    """Whether another value says what `own` says, or holds only numbers, such as probabilities by label.

    A completion that names all labels of `own` says so too, unless it is a label itself.
    """
    if isinstance(other, dict) and (key in other or "label" in other):
        other = other.get(key, other.get("label"))
    numbers = other.values() if isinstance(other, dict) else other if isinstance(other, list) else [other]
    if numbers and all(isinstance(number, float) for number in numbers):
        return True
    if isinstance(own, list) and all(isinstance(item, str) for item in own):
        if isinstance(other, str) and other not in labels:
            return not other.strip() if not own else all(item.casefold() in other.casefold() for item in own)
        items = other if isinstance(other, list) else [] if other is None else [other]
        return all(isinstance(item, str) for item in items) and set(items) == set(own)
    return bool(own == other)


def _read_labels(row: Mapping[str, Any], space: TargetSpace, where: str) -> Target:
    near = next(iter(_other_outputs(row, "labels", space.labels)), None)
    if "labels" not in row and near is not None:
        raise DataError(f'{where} has no "labels" but "{near}"; write "labels", a list of strings, for one label too.')
    if "labels" not in row:
        raise DataError(f'{where} has no "labels"; write [] where no label applies.')
    found = checked_labels(row["labels"], space.labels, where)
    if space.kind == "single_label" and len(found) > 1:
        raise DataError(f"{where} has {len(found)} labels, but this task has one a text.")
    return label_target(space.kind, found)


def _read_spans(row: Mapping[str, Any], space: TargetSpace, where: str) -> Target:
    given = row.get("spans")
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise DataError(f'{where} needs "spans", a list of {{"start", "end", "label"}}; write [] where there is none.')
    return Spans(tuple(_checked_span(item, space, where) for item in given))


def _checked_span(item: Mapping[str, Any], space: TargetSpace, where: str) -> Span:
    start, end = item.get("start"), item.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise DataError(
            f'{where} has a span from {start!r} to {end!r}; "start" and "end" count characters, "end" comes after.'
        )
    return Span(start, end, checked_label(item.get("label"), space.labels, where))


def _read_text(row: Mapping[str, Any], space: TargetSpace, where: str) -> Target:
    if not isinstance(row.get("text"), str):
        raise DataError(f'{where} has no "text"; give it a string.')
    return FreeText(row["text"])


_READERS: dict[TargetKind, Callable[[Mapping[str, Any], TargetSpace, str], Target]] = {
    "label_set": _read_labels,
    "single_label": _read_labels,
    "spans": _read_spans,
    "text": _read_text,
}
