"""Characters of a user's texts: which of them show nothing, and which are none."""

from __future__ import annotations

import re
import unicodedata

from semtune.errors import DataError
from semtune.tasks.remarks import shown

_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and the blank Braille pattern."""
_CATEGORIES = frozenset({"Cf", "Cc"})
"""Unicode categories of format and control characters: zero-width spaces, direction marks, escapes."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_invisible(character: str) -> bool:
    """Whether a character shows nothing and is no plain white space."""
    if character.isspace():
        return False
    return _IGNORABLE.match(character) is not None or unicodedata.category(character) in _CATEGORIES


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space and invisible characters alone."""
    return not text.strip() or all(c.isspace() or is_invisible(c) for c in text)


def visible(text: str) -> str:
    """`text` without invisible characters and without surrounding white space."""
    return "".join(c for c in text if not is_invisible(c)).strip()


def check_characters(text: str, column: str, where: str) -> None:
    """Raises DataError for half a surrogate pair, which no encoding can write; `where` names file and row."""
    half = _SURROGATE.search(text)
    if half is not None:
        raise DataError(
            f'{where} has half a surrogate pair ({shown(half[0])[1:-1]}) in column "{column}", which is no character; '
            "repair it there."
        )
