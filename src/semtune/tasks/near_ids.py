"""Ids that a reader takes for the same: they differ in white space, case, Unicode's normal form or a number's digits.

Ids are compared exactly, so such ids name different texts, and a prediction under the one is none for the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from semtune.tasks.label_names import difference, shown

GROUPS_SHOWN = 3
"""Number of groups of near-equal ids that a message names."""
_NUMBER = re.compile(r"[+]?0*(\d+)(?:\.0*|,0{1,2})?")
_THOUSANDS = re.compile(r"[+]?\d{1,3}(?:,\d{3})+(?:\.0*)?")


def id_notes(ids: Iterable[str]) -> tuple[str, ...]:
    """One sentence that names near-equal ids; () where there are none."""
    groups: dict[str, list[str]] = defaultdict(list)
    for own in ids:
        groups[_folded(own)].append(own)
    near = [group for group in groups.values() if len(group) > 1]
    if not near:
        return ()
    named = [f"{' and '.join(shown(i, group) for i in group)} differ only in {_differ(group)}" for group in near]
    more = f"; and {len(near) - GROUPS_SHOWN} more such groups" if len(near) > GROUPS_SHOWN else ""
    return (
        f"near-equal ids count as different ones: {'; '.join(named[:GROUPS_SHOWN])}{more}; correct them where two mean "
        "the same text",
    )


def near_pairs(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """A clause that names surplus ids which are near-equal to missing ones; "" where there are none."""
    known: Mapping[str, str] = {_folded(own): own for own in reversed(missing)}
    pairs = [(own, known[_folded(own)]) for own in surplus if _folded(own) in known]
    if not pairs:
        return ""
    one, other = pairs[0]
    count = f" (and so for {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return f"{shown(one, [other])} differs from {shown(other, [one])} only in {_differ([one, other])}{count}"


def _differ(ids: Sequence[str]) -> str:
    found = difference(ids)
    return "how a number is written" if found == "spelling" else found


def _folded(own: str) -> str:
    """What near-equal ids share."""
    text = own if own.isascii() else unicodedata.normalize("NFKC", own)
    text = "".join(text.casefold().split())
    if not text.isascii():
        visible = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc"))
        text = unicodedata.normalize("NFKC", visible)
    number = _NUMBER.fullmatch(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    return number[1] if number is not None else text
