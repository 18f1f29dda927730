"""One example's line of `transcripts.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semtune.records import Example, Prediction, to_plain


def transcript_line(
    example: Example,
    prediction: Prediction,
    calls: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The example's id, text and date, its gold target, the prediction, whether that parsed, calls and notes.

    "gold" is left out where the target is not known, "date" and "notes" where there are none. Targets have the form
    {"labels": […]}, {"spans": […]} or {"text": …}.
    """
    line: dict[str, Any] = {"id": example.id, "text": example.text}
    if example.date is not None:
        line["date"] = example.date
    if example.target is not None:
        line["gold"] = to_plain(example.target)
    line |= {"prediction": to_plain(prediction.output), "parsed": prediction.parsed, "calls": list(calls)}
    if notes:
        line["notes"] = list(notes)
    return line
