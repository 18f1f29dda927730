"""One line of `transcripts.jsonl` as the page shows it: calls, notes, and whether the prediction is right.

Strategies note what they like, also those from outside: a note's lists of rows become tables, whatever their keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semtune.report.table import NOTHING

CHARACTERS = 20_000
"""Longest text of a prompt, an answer or a cell; the rest is left out."""
CALLS = 100
"""Most calls of a text that are shown, and most rows of a note."""
SHORTEST_BEGINNING = 80
"""Characters that two prompts share at least before what they share is folded."""
TITLES = {
    "demonstrations": "Demonstrations in the prompt",
    "neighbours": "Nearest training texts",
    "knowledge": "Entries of --knowledge in the prompt",
    "dropped_demonstrations": "Demonstrations left out",
    "dropped_knowledge": "Entries of --knowledge left out",
    "thought": "Thought",
    "chains": "Chains of thought",
    "shares": "Shares of votes",
    "nodes": "Thoughts of the tree",
    "best": "Best node",
    "tokens": "Tokens of the search",
}
"""Keys of notes -> their titles; a key that is not here is its own title."""
DROPPED = "dropped_"
"""Begins the key of how many did not fit, which is not shown where it is none."""
RETRIEVED = ("demonstrations", "neighbours", "knowledge")
"""Notes of what was retrieved, which stand before the calls."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a strategy noted under one key: rows under headings, or a text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: str
    rows_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model."""

    facts: tuple[str, ...]
    """How it was asked, tokens, seconds, and whether the answer comes from disk."""
    prompt: str
    """Without the beginning that is shown at the call `like`."""
    like: int | None
    """The earlier call of the same text, counted from 1, that begins alike; None: the whole prompt is here."""
    shared: int
    """Characters of that beginning."""
    instruction: str | None
    """What told a chat model the form of the answer."""
    answer: str | None
    ranked: tuple[tuple[str, str, bool], ...]
    """Completions with their log-likelihood in nats, and which is the most probable one."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text with its prediction and everything that led to it."""

    id: str
    split: str
    date: str | None
    text: str | None
    gold: str | None
    """None: not known."""
    prediction: str | None
    """None: not in transcripts of earlier versions."""
    right: bool | None
    parsed: bool
    retrieved: tuple[Note, ...]
    calls: tuple[Call, ...]
    calls_left_out: int
    notes: tuple[Note, ...]

    @property
    def size(self) -> int:
        """Characters that the page needs for it, roughly."""
        calls = sum(len(c.prompt) + len(c.answer or "") + sum(len(row[0]) for row in c.ranked) for c in self.calls)
        cells = sum(len(n.text) + sum(map(len, (c for r in n.rows for c in r))) for n in (*self.retrieved, *self.notes))
        return len(self.text or "") + calls + cells


def text_of(line: Mapping[str, Any], *, unlabelled: bool) -> Text:
    """A line as it is shown; `unlabelled`: its split has no gold labels, and none is shown.

    Raises KeyError, TypeError, ValueError, AttributeError: it is no line of a transcript.
    """
    gold = None if unlabelled else line.get("gold")
    predicted = line.get("prediction")
    right = None if gold is None or predicted is None else _comparable(gold) == _comparable(predicted)
    calls = [call for call in line["calls"] if isinstance(call, Mapping)]
    notes = [(str(key), value) for note in line.get("notes", ()) for key, value in note.items()]
    notes = [(key, value) for key, value in notes if value != 0 or not key.startswith(DROPPED)]
    return Text(
        id=str(line["id"]),
        split=str(line["split"]),
        date=None if line.get("date") is None else str(line["date"]),
        text=None if line.get("text") is None else bounded(str(line["text"])),
        gold=None if gold is None else _target(gold),
        prediction=None if predicted is None else _target(predicted),
        right=right,
        parsed=line.get("parsed") is not False,
        retrieved=tuple(_note(key, value) for key, value in notes if _is_retrieved(key)),
        calls=tuple(_calls(calls[:CALLS])),
        calls_left_out=max(len(calls) - CALLS, 0),
        notes=tuple(_note(key, value) for key, value in notes if not _is_retrieved(key)),
    )


def bounded(text: str) -> str:
    """`text`, cut after `CHARACTERS` with a word on what is missing."""
    if len(text) <= CHARACTERS:
        return text
    return f"{text[:CHARACTERS]}… ({len(text) - CHARACTERS:,} more characters in transcripts.jsonl)"


def shared_beginning(one: str, other: str) -> int:
    """Characters with which both texts begin, up to the end of a line; 0 where they are too few to be worth folding."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    ended = one.rfind("\n", 0, low) + 1
    return ended if ended >= SHORTEST_BEGINNING else 0


def _is_retrieved(key: str) -> bool:
    return key.removeprefix(DROPPED) in RETRIEVED


def _target(plain: Mapping[str, Any]) -> str:
    """A target in words."""
    if "labels" in plain:
        return ", ".join(map(str, plain["labels"])) or "no label"
    if "spans" in plain:
        spans = [f"{span['label']} ({span['start']}–{span['end']})" for span in plain["spans"]]
        return ", ".join(spans) or "no span"
    return bounded(str(plain["text"]))


def _comparable(plain: Mapping[str, Any]) -> Any:
    """A target as what equals that of another order."""
    if "labels" in plain:
        return sorted(map(str, plain["labels"]))
    if "spans" in plain:
        return sorted((s["start"], s["end"], str(s["label"])) for s in plain["spans"])
    return plain["text"]


def _calls(calls: Sequence[Mapping[str, Any]]) -> Iterator[Call]:
    """The calls, each prompt without the longest beginning that it shares with an earlier one."""
    before: list[str] = []
    for call in calls:
        prompt = str(call.get("prompt") or "")
        shared, like = max(((shared_beginning(prompt, p), -n) for n, p in enumerate(before, start=1)), default=(0, 0))
        before.append(prompt)
        instruction, completion = call.get("instruction"), call.get("completion")
        yield Call(
            facts=tuple(_facts(call)),
            prompt=bounded(prompt[shared:]),
            like=-like if shared else None,
            shared=shared,
            instruction=None if instruction is None else bounded(str(instruction)),
            answer=None if completion is None else bounded(str(completion)),
            ranked=tuple(_ranked(call)),
        )


def _facts(call: Mapping[str, Any]) -> Iterator[str]:
    if call.get("temperature"):
        yield f"sampled at temperature {_cell(call['temperature'])}, seed {_cell(call.get('seed'))}"
    if "loglikelihoods" in call:
        yield "log-likelihoods"
    tokens = call.get("tokens")
    if isinstance(tokens, Sequence) and len(tokens) == 2:
        yield " + ".join("unknown" if count is None else _cell(count) for count in tokens) + " tokens"
    if isinstance(call.get("seconds"), (int, float)):
        yield f"{call['seconds']:.3f} s"
    if call.get("kept"):
        yield "answered from disk"
    elif call.get("kept_requests"):
        yield f"{_cell(call['kept_requests'])} of {_cell(call.get('requests'))} requests answered from disk"


def _ranked(call: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    values = [float(value) for value in call.get("loglikelihoods") or ()]
    for completion, value in zip(call.get("completions") or (), values, strict=False):
        yield bounded(str(completion)), f"{value:.3f}", value == max(values)


def _note(key: str, value: Any) -> Note:
    title = TITLES.get(key, key)
    if isinstance(value, Mapping):
        value = [{"": name, "value": entry} for name, entry in value.items()]
    if not isinstance(value, list) or not value or not all(isinstance(row, Mapping) for row in value):
        return Note(title, (), (), "none" if value in ([], None) else _cell(value))
    columns = tuple(dict.fromkeys(str(column) for row in value for column in row))
    if len(columns) == 1:
        return Note(title, (), (), _cell([row.get(columns[0]) for row in value]))
    rows = tuple(tuple(_cell(row.get(column)) for column in columns) for row in value[:CALLS])
    return Note(title, columns, rows, "", max(len(value) - CALLS, 0))


def _cell(value: Any) -> str:
    """Any JSON value as text."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and not any(isinstance(item, (list, Mapping)) for item in value):
        return bounded(", ".join(map(_cell, value)) or "none")
    return bounded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
