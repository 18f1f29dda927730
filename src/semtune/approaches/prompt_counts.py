"""What went into the prompts of all examples, counted from the strategies' notes: for a result's own notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from semtune.tasks.overlap import NearDuplicates, normal_form

COUNTED = {"demonstrations": "demonstrations", "knowledge": "entries of --knowledge"}
"""Key of a note -> what it lists; a note with it has the number that did not fit under `dropped_<key>`."""
MOST_CITED = 5
"""Entries of knowledge that a note names."""
_CONTAINED = 20
"""Characters of the shortest text that is looked for inside longer entries: shorter ones stand in many by chance."""


class PromptCounts:
    """Demonstrations and entries of knowledge that were in prompts, and those that did not fit."""

    def __init__(self) -> None:
        self._prompts = 0
        self._given, self._dropped = dict.fromkeys(COUNTED, 0), dict.fromkeys(COUNTED, 0)
        self._cited: Counter[str] = Counter()
        self._texts_with_knowledge = self._texts_told = 0

    def add(self, notes: Sequence[Mapping[str, Any]], text: str) -> None:
        """Count the notes of one example, whose text is `text`."""
        self._prompts += 1
        for key in COUNTED:
            self._given[key] += sum(len(note.get(key, ())) for note in notes)
            self._dropped[key] += sum(note.get(f"dropped_{key}", 0) for note in notes)
        entries = [entry for note in notes for entry in note.get("knowledge", ())]
        cited = set(map(_named, entries))
        self._cited.update(sorted(cited))
        self._texts_with_knowledge += bool(cited)
        self._texts_told += bool(entries) and _has([str(entry["text"]) for entry in entries], text)

    def mean(self, key: str) -> float | None:
        """How many of a key of `COUNTED` were in a prompt on average; None where no prompt had any."""
        return self._given[key] / self._prompts if self._given[key] else None

    def most_cited(self, most: int = MOST_CITED) -> str:
        """The entries of knowledge that most prompts cite, each with the number of prompts; "" where there are none."""
        return ", ".join(f"{name} ({count})" for name, count in self._cited.most_common(most))

    def sentences(self) -> tuple[str, ...]:
        """Which entries of knowledge were cited most, and what was left out, each where there is some."""
        found = []
        if self._cited:
            found.append(
                f"{self._texts_with_knowledge} of {self._prompts} prompts cite entries of --knowledge, "
                f"{len(self._cited)} of them; most often (prompts): {self.most_cited()}"
            )
        if self._texts_told:
            found.append(
                f"{self._texts_told} of {self._prompts} prompts cite an entry of --knowledge that is (nearly) the text "
                "itself: where such entries say the answer, take them out, as the scores say nothing with them"
            )
        for key, what in COUNTED.items():
            if self._dropped[key]:
                wanted = (self._given[key] + self._dropped[key]) / self._prompts
                found.append(
                    f"on average {self._dropped[key] / self._prompts:.2f} of {wanted:.2f} {what} for a prompt were "
                    "left out, as it would have been longer than the strategy's option prompt_tokens allows"
                )
        return tuple(found)


def _has(entries: Sequence[str], text: str) -> bool:
    """Whether one of the entries is nearly the text, or holds it."""
    form = normal_form(text)
    if len(form) >= _CONTAINED and any(form in normal_form(entry) for entry in entries):
        return True
    return any(map(NearDuplicates(entries).of(text), range(len(entries))))


def _named(entry: Mapping[str, Any]) -> str:
    """An entry's place in its file, date and title; the beginning of its text where it has no title."""
    title = entry.get("title") or f"{entry['text'][:30]}…"
    return " ".join(filter(None, (entry["id"], entry.get("date"), f'"{title}"')))
