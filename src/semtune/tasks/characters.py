"""Characters of a user's texts: which of them show nothing, and which are none."""

from __future__ import annotations

import re
import unicodedata

from semtune.errors import DataError
from semtune.tasks.remarks import shown

INVISIBLE = frozenset({"Cf", "Cc"})
"""Unicode categories of format and control characters: zero-width spaces, direction marks, escapes."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space and invisible characters alone."""
    return not text.strip() or all(c.isspace() or unicodedata.category(c) in INVISIBLE for c in text)


def visible(text: str) -> str:
    """`text` without invisible characters and without surrounding white space."""
    return "".join(c for c in text if unicodedata.category(c) not in INVISIBLE).strip()


def check_characters(text: str, column: str, where: str) -> None:
    """Raises DataError for half a surrogate pair, which no encoding can write; `where` names file and row."""
    half = _SURROGATE.search(text)
    if half is not None:
        raise DataError(
            f'{where} has half a surrogate pair ({shown(half[0])[1:-1]}) in column "{column}", which is no character; '
            "repair it there."
        )
