"""Labels that a reader, or a tokenizer, may take for one another.

Two labels are near-equal if they differ in nothing but case, white space, characters that show nothing, or Unicode's
normal form. They are different labels to every method, which is seldom what the data's author meant.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from semtune.errors import did_you_mean
from semtune.tasks.characters import is_invisible

GROUPS_SHOWN = 5
"""Number of groups of near-equal labels that the warning names."""
NORMAL_FORM = "normal form"


def near_equal(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of near-equal labels, each in the order of `labels`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[_folded(label)].append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def label_notes(labels: Iterable[str]) -> tuple[str, ...]:
    """One sentence that names the near-equal labels, for the reader of a run; () where there are none."""
    groups = near_equal(labels)
    if not groups:
        return ()
    named = [
        f"{' and '.join(shown(label, group) for label in group)} differ only in {difference(group)}"
        for group in groups[:GROUPS_SHOWN]
    ]
    more = f"; and {len(groups) - GROUPS_SHOWN} more such groups" if len(groups) > GROUPS_SHOWN else ""
    return (
        f"near-equal labels count as different ones: {'; '.join(named)}{more}; correct the data where two mean "
        "the same",
    )


def difference(labels: Sequence[str]) -> str:
    """What near-equal labels differ in, e.g. "case", or "white space and case"; "spelling" where they are not that."""
    for count in range(1, len(_FOLDS) + 1):
        for kinds in combinations(_FOLDS, count):
            if len({_folded(label, kinds) for label in labels}) == 1:
                return " and ".join(kinds)
    return "spelling"


def unknown_name(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown label: the known one that is near-equal, or else those like it, and all.

    >>> unknown_name("Good ", ["Good", "Bad"])
    'it differs from "Good" only in white space'
    """
    names = list(known)
    near = next((other for other in names if _folded(other) == _folded(name)), None)
    if near is None:
        return did_you_mean(name, names)
    return f"it differs from {shown(near, [name])} only in {difference([name, near])}"


def shown(label: str, beside: Iterable[str] = ()) -> str:
    """`label` in quotation marks, with escapes for what does not show, or looks the same in the labels `beside` it."""
    alike = NORMAL_FORM in difference([label, *beside])
    text = "".join(c if _shows(c) and (c.isascii() or not alike) else _escaped(c) for c in label)
    return f'"{text}"'


def _shows(character: str) -> bool:
    return character.isprintable() and not is_invisible(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _without_invisible(text: str) -> str:
    return "".join(c for c in text if not is_invisible(c))


_FOLDS: dict[str, Callable[[str], str]] = {
    "white space": lambda text: "".join(text.split()),
    "invisible characters": _without_invisible,
    NORMAL_FORM: lambda text: unicodedata.normalize("NFKC", text),
    "case": str.casefold,
}
"""What a difference is called -> the text without it."""


def _folded(label: str, kinds: Iterable[str] = tuple(_FOLDS)) -> str:
    """The text that near-equal labels share. One fold may undo another (U+0345, for one), so all are applied twice."""
    for kind in (*kinds, *kinds):
        label = _FOLDS[kind](label)
    return label
