"""Quotes around whole lines of a table, which make one cell of each, or leave half of a pair on its last cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from semtune.tasks.characters import visible
from semtune.tasks.remarks import shown
from semtune.tasks.separated import QUOTE, SEPARATORS

ADVICE = (
    "each line stands in quotes as a whole, so that its cells are read as one; remove these quotes (and write single "
    "ones for doubled ones between them), or export the table again"
)
_WRAPPED = re.compile(r'"(?:[^"\\]|\\.|"")*+"')
_LONE = re.compile(r'"[^"]*|[^"]*[^"\d]"')
"""A quote at one end; behind a digit it may mean inches."""


def is_wrapped(text: str, wanted: Collection[str]) -> bool:
    """Whether each line below the header is one quoted cell that holds separators, though the header names several.

    Args:
        text: the file's text, lines ended by "\\n".
        wanted: names of columns, one of which must be in a header that is one quoted cell too: a single column may
            have any name.
    """
    lines = (line.strip() for line in text.split("\n"))
    filled = (line for line in lines if line and not line.startswith(("#", "sep=")))
    header = next(filled, "")
    quoted = _WRAPPED.fullmatch(header) is not None
    separators = [s for s in SEPARATORS if s in header]
    names = {visible(name).casefold() for s in separators for name in header.strip(QUOTE).split(s)}
    if not names or (quoted and names.isdisjoint(name.casefold() for name in wanted)):
        return False
    first = next(filled, "")
    held = [s for s in separators if s in first]
    return bool(held) and all(_WRAPPED.fullmatch(line) and any(s in line for s in held) for line in (first, *filled))


def lone_quote_notes(labels: Iterable[str]) -> list[str]:
    """A note on labels with half of a pair of quotes."""
    lone = sorted({label for label in labels if _LONE.fullmatch(label)})
    if not lone:
        return []
    others = f", and so for {len(lone) - 1} more" if len(lone) > 1 else ""
    return [
        f"the label {shown(lone[0])} has a quote at one end alone{others}, which was taken as a part of it; if quotes "
        "enclose cells or whole lines, correct the file"
    ]
