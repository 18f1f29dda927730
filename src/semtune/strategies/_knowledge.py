"""External text for prompts (`--knowledge`): news, slang, glossary entries, looked up by BM25 for each text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semtune.errors import DataError
from semtune.runtime.files import expanded
from semtune.strategies._bm25 import Bm25
from semtune.strategies._files import read_json, write_json
from semtune.strategies._knowledge_entries import KnowledgeEntry, read_entries

FILE = "knowledge.json"


class Knowledge:
    """Entries and a BM25 index over their titles and texts. Raises OptionError where bm25s is not installed.

    notes: what reading the file left out or converted.
    """

    def __init__(self, entries: Sequence[KnowledgeEntry], notes: Sequence[str] = ()) -> None:
        self.entries, self.notes = tuple(entries), tuple(notes)
        self._index = Bm25()
        self._index.index([f"{e.title} {e.text}" for e in self.entries])

    @classmethod
    def read(cls, path: Path, date_column: str | None = None) -> Knowledge:
        """The entries of a file. `date_column`: what the user calls the column of dates in the task's own table.

        Raises DataError: it is missing, no text, empty, or has a date of another form or a cell that is no text; it
        is a table whose suffix does not say so.
        """
        path = expanded(str(path))
        entries, notes = read_entries(path, date_column)
        if not entries:
            raise DataError(f"--knowledge {path} holds no entries; give a file with text.")
        return cls(entries, notes)

    def nearest(self, text: str, count: int, *, not_after: str | None) -> list[tuple[KnowledgeEntry, float]]:
        """At most `count` entries that share a word with `text`, the most similar first.

        not_after: a date (2021-03-05); entries with a later one are passed over. None: none is.
        """
        similarities = self._index.similarities(text)
        found: list[tuple[KnowledgeEntry, float]] = []
        for i in np.argsort(-similarities, kind="stable").tolist():
            if len(found) == count or similarities[i] <= 0:
                break
            entry = self.entries[i]
            if not_after is None or entry.date is None or entry.date <= not_after:
                found.append((entry, float(similarities[i])))
        return found

    def date_notes(self, *, dated_texts: bool) -> tuple[str, ...]:
        """Which entries are never held back as newer than a text. `dated_texts`: whether texts have dates."""
        dated = sum(entry.date is not None for entry in self.entries)
        undated, whole = len(self.entries) - dated, len(self.entries)
        if dated_texts and undated:
            return (f"--knowledge: {undated:,} of {whole:,} entries have no date, so they are never held back",)
        if dated and not dated_texts:
            return (
                f"--knowledge: {dated:,} of {whole:,} entries have a date, but no training text has one, so that none "
                "is held back; name the texts' dates with --date-column",
            )
        return ()

    def save(self, folder: Path) -> None:
        """Write the entries."""
        write_json(folder / FILE, {"entries": [entry.plain() for entry in self.entries]})

    @classmethod
    def load(cls, folder: Path) -> Knowledge:
        """Read and index what `save` wrote. Raises ModelError, OptionError."""
        entries: list[KnowledgeEntry] = []
        read_json(
            folder / FILE, "the entries of --knowledge",
            lambda value: entries.extend(KnowledgeEntry(**row) for row in value["entries"]),
        )  # fmt: skip
        return cls(entries)
