"""Transcripts of a study's prompted runs, read for the report: a page for each run, and what its prompts held.

A page shows at most `TEXTS` texts and about `PAGE_CHARACTERS` characters, shared evenly by the splits, the first texts
of each; it says what it leaves out. Lines that cannot be read (cut off by Ctrl-C) are passed over.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semtune.approaches.prompt_counts import PromptCounts
from semtune.errors import OutputError
from semtune.records import RunResult
from semtune.report.templating import environment
from semtune.report.transcript_view import Text, shared_beginning, text_of
from semtune.report.view import StudyView
from semtune.runs.folder import RunFolder
from semtune.runtime.files import write_text

TEXTS = 500
PAGE_CHARACTERS = 10_000_000
LONGEST_NAME = 150
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that HTML forbids, that nobody sees, or that reorder the text around them."""


@dataclass(slots=True)
class Transcripts:
    """What a run's transcripts hold; the texts are those that its page shows."""

    label: str
    run: RunResult
    path: Path
    """The file, from the study's folder."""
    page: str
    """The page's file name, in the study's folder."""
    texts: list[Text] = field(default_factory=list)
    counts: PromptCounts = field(default_factory=PromptCounts)
    by_split: Counter[str] = field(default_factory=Counter)
    """Texts on record, also those that the page leaves out."""
    unreadable_lines: int = 0

    @property
    def total(self) -> int:
        """Texts on record."""
        return self.by_split.total()


def found_transcripts(view: StudyView, folder: Path) -> Iterator[Transcripts]:
    """Those of every run that has any, one after the other; empty of texts until `read`."""
    taken: set[str] = set()
    for group in view.groups:
        for run in group.runs:
            if not run.out:
                continue
            path = RunFolder.current(folder / run.out).transcripts
            if path.is_file():
                yield Transcripts(
                    view.label(group), run, Path(os.path.relpath(path, folder)), _page_name(run.out, taken)
                )


def read(
    transcripts: Transcripts,
    folder: Path,
    unlabelled: Collection[str],
    *,
    texts: int = TEXTS,
    size: int = PAGE_CHARACTERS,
) -> None:
    """Count all texts, and store as many as the page may show. Raises OutputError: the file cannot be read.

    Args:
        unlabelled: splits whose gold labels are not known, and so never shown.
        texts: most texts of the page.
        size: most characters of the page, roughly.
    """
    by_split: dict[str, list[Text]] = {}
    sizes: Counter[str] = Counter()
    try:
        for line in _lines(folder / transcripts.path):
            try:
                text = text_of(line, unlabelled=line.get("split") in unlabelled)
                transcripts.counts.add(line.get("notes", ()), line.get("text", ""))
            except _UNREADABLE:
                transcripts.unreadable_lines += 1
                continue
            transcripts.by_split[text.split] += 1
            kept = by_split.setdefault(text.split, [])
            if len(kept) < texts and sizes[text.split] + text.size <= size:
                kept.append(text)
                sizes[text.split] += text.size
            else:
                sizes[text.split] = size  # the page has the first texts, without holes
    except OSError as error:
        raise OutputError(
            f"{folder / transcripts.path} cannot be read ({error.strerror}); make it readable."
        ) from error
    transcripts.texts = _shared_out(by_split, texts, size)


def render(transcripts: Transcripts, task: str) -> str:
    """The page as text; no script, no request, and every character that is not plain text spelt out."""
    shown = Counter(text.split for text in transcripts.texts)
    page = (
        environment()
        .get_template("transcripts.html.j2")
        .render(
            task=task,
            label=transcripts.label,
            run=transcripts.run,
            path=transcripts.path.as_posix(),
            texts=list(zip(transcripts.texts, _beginnings(transcripts.texts), strict=True)),
            splits=[(split, shown[split], total) for split, total in transcripts.by_split.items()],
            left_out=transcripts.total - len(transcripts.texts),
            unreadable_lines=transcripts.unreadable_lines,
            wrong=sum(text.right is False for text in transcripts.texts),
            right=sum(text.right is True for text in transcripts.texts),
            unparsable=sum(not text.parsed for text in transcripts.texts),
            predictions=all(text.prediction is not None for text in transcripts.texts),
        )
    )
    return printable(page.rstrip()) + "\n"


def printable(text: str) -> str:
    """`text` with characters that HTML forbids, or that cannot be seen, spelt out: a NUL is "\\u0000"."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_pages(view: StudyView, folder: Path) -> list[Transcripts]:
    """Write the page of each run that has transcripts; what they held is returned, without the texts.

    Raises OutputError: a file cannot be read or a page not written.
    """
    written = []
    for transcripts in found_transcripts(view, folder):
        read(transcripts, folder, view.plain.get("unlabelled_splits") or ())
        write_text(folder / transcripts.page, render(transcripts, view.task), advice="make the folder writable")
        transcripts.texts = []  # one run's texts at a time are in memory
        written.append(transcripts)
    return written


def _page_name(out: str, taken: set[str]) -> str:
    """A file name that no other run of the study has; `taken`: those so far, in lower case."""
    stem = "transcripts-" + (re.sub(r"[^A-Za-z0-9.]+", "-", out).strip("-.")[:LONGEST_NAME] or "run")
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.lower())
    return f"{name}.html"


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a transcript; an empty object for one that is none. Raises OSError."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = {}
            yield value if isinstance(value, Mapping) else {}


def _shared_out(by_split: Mapping[str, Sequence[Text]], texts: int, size: int) -> list[Text]:
    """The first texts of each split, which share the room evenly; what one leaves goes to the next."""
    chosen: dict[str, Sequence[Text]] = {}
    rest = len(by_split)
    for split, found in sorted(by_split.items(), key=lambda item: sum(text.size for text in item[1])):
        few, small, count = texts // rest, size // rest, 0
        used = 0
        for text in found[:few]:
            if used + text.size > small:
                break
            used, count = used + text.size, count + 1
        chosen[split] = found[:count]
        texts, size, rest = texts - count, size - used, rest - 1
    return [text for split in by_split for text in chosen[split]]


def _beginnings(texts: Sequence[Text]) -> list[int]:
    """For each text the characters of its first prompt that the first prompt of a text beside it begins with too."""
    prompts = [text.calls[0].prompt if text.calls else "" for text in texts]
    pairs = [shared_beginning(one, other) for one, other in itertools.pairwise(prompts)]
    return [max(pair) for pair in zip([0, *pairs], [*pairs, 0], strict=True)][: len(texts)]
