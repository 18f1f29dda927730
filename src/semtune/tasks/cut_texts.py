"""Texts that an earlier program has cut: many of them have one length, at which columns of databases end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

LIMITS = frozenset(
    {64, 100, 120, 127, 128, 140, 150, 160, 200, 250, 254, 255, 256, 280, 300, 400, 499, 500, 511, 512, 600, 750, 800}
    | {1000, 1023, 1024, 1500, 2000, 2047, 2048, 2500, 3000, 4000, 4095, 4096, 5000, 8000, 8192, 10000}
    | {32759, 32767, 65535}
)
"""Usual lengths of columns of text: of databases, of spreadsheets' cells, and those with room for an end."""
_FEWEST = 3
"""Texts of that length."""
_BELOW = 10
"""Lengths below, each of which fewer than half as many texts have."""


def cut_notes(texts: Iterable[str]) -> tuple[str, ...]:
    """A note where several texts have the longest one's length, which is a usual limit, and end within a sentence."""
    held = list(texts)
    counts = Counter(map(len, held))
    longest = max(counts, default=0)
    below = max((counts[longest - by] for by in range(1, _BELOW + 1)), default=0)
    if longest not in LIMITS or counts[longest] < _FEWEST or counts[longest] <= 2 * below:
        return ()
    open_ended = sum(text[-1].isalnum() or text[-1] in "-,' " for text in held if len(text) == longest)
    if open_ended * 2 < counts[longest]:
        return ()
    return (
        f"{counts[longest]:,} texts have exactly {longest:,} characters, and none has more: the program that wrote "
        "them may have cut them; export the whole texts where it did",
    )
