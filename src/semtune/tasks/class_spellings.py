"""Labels that may be one class written in two ways, though not merely in another case, spacing or normal form.

    punctuation       bad.  'bad'          beside bad
    tags of HTML      <b>bad</b>           beside bad
    joined words      very_bad  VeryBad    beside very bad
    accents           negatif  boese       beside négatif, böse; ΘΕΤΙΚΟ beside ΘΕΤΙΚΌ, учеба beside учёба
    quotes, dashes    Don't know  18-25    beside Don’t know, 18–25
    forms of a letter POZİTİF  منفي        beside pozitif, منفی
    letters of another script              a Cyrillic о in "positive"
    number and name   1: good  good (1)    beside 1, good or 1 - good; 2. good beside 1. good
    true and false    TRUE, 1, yes         beside each other

They may also be two classes (cafe and café, C and C.), so they are noted, with the number of texts of each; labels that
differ in less are in `label_names`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from semtune.tasks.label_names import near_equal, shown
from semtune.tasks.number_forms import numbers_in

GROUPS_SHOWN = 5
"""Number of groups of labels that the note names."""
_EDGES = re.compile(r"^[\s.,;:!?'\"“”‘’„«»`´_#]+|[\s.,;:!?'\"“”‘’„«»`´_]+$")
_PAIRS = re.compile(r"^(?:\((.*)\)|\[(.*)\]|<(.*)>|\{(.*)\}|\*+(.*?)\*+)$", re.DOTALL)
_TAGS = re.compile(r"</?[a-z]\w*\s*/?>(?=.)|(?<=.)</?[a-z]\w*\s*/?>", re.DOTALL)
_BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_.\-\u2010-\u2015]+(?=[^\W\d_])|(?<=[^\W\d_])[\s_\-\u2010-\u2015]+(?=\d)")
_LIKE_LATIN = str.maketrans(
    "АВЕЗКМНОРСТУХЅІЈԚԜаеорсухѕіјһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν",
    "ABE3KMHOPCTYXSIJQWaeopcyxsijhdqwABEZHIKMNOPTYXoav",
)
"""Cyrillic and Greek letters that look like Latin ones."""
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ß": "ss", "ё": "е"}
    | dict.fromkeys("أإآٱ", "ا")
    | dict.fromkeys("ىيئ", "ی")
    | {"ك": "ک", "ة": "ه", "ؤ": "و"}
)
"""Letters that keyboards and habits write in two ways, and the one that both are compared as."""
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05bd\u0640\u064b-\u065f\u0670]")
"""Accents beside a letter that has no form with them, points of Hebrew and Arabic, and Arabic's stretched line."""
_DASHES = re.compile(r"\s*[\-\u2010-\u2015\u2212]\s*")
_APOSTROPHES = re.compile(r"(?<=\w)['’‘ʼ´`′](?=\w)")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_CODE = r"(?P<code>[-+]?\d{1,6}|[A-Za-z]\d{0,3})"
_CODE_AND_NAME = re.compile(rf"{_CODE}\s*(?:[:=)\]]|\.\s|\s[-\u2010-\u2015]\s)\s*(?P<name>\S.*)")
_NAME_AND_CODE = re.compile(rf"(?P<name>\S.*?)\s*[(\[]{_CODE}[)\]]")
_CODE_AND_BRACKETS = re.compile(rf"{_CODE}\s*[(\[](?P<name>.+)[)\]]")
_LISTED = re.compile(r"\d{1,3}(?:\.\s|\)\s?)\s*(?P<name>\S.*)")
"""An item of a numbered list, as people type it into a cell."""
_TRUE = frozenset(
    {
        "true",
        "t",
        "yes",
        "y",
        "1",
        "wahr",
        "ja",
        "vrai",
        "oui",
        "verdadero",
        "si",
        "sí",
        "vero",
        "sì",
        "verdadeiro",
        "sim",
    }
    | {"да", "истина", "是"}
)
_FALSE = frozenset(
    {"false", "f", "no", "n", "0", "falsch", "nein", "faux", "non", "falso", "não", "nao", "нет", "ложь", "nee", "否"}
)


def spelling_notes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One sentence that names labels which may be the same class; () where there are none.

    Args:
        counts: number of texts by label.
    """
    known = {label for group in near_equal(counts) for label in group}
    groups = [group for group in _groups(sorted(counts)) if not known.issuperset(group)]
    if not groups:
        return ()
    named = [" and ".join(f"{_shown(label)} ({counts[label]:,})" for label in group) for group in groups[:GROUPS_SHOWN]]
    more = f"; and {len(groups) - GROUPS_SHOWN} more such groups" if len(groups) > GROUPS_SHOWN else ""
    return (
        f"labels that may be one class in two spellings count as different ones (number of texts): {'; '.join(named)}"
        f"{more}; write them alike where they mean the same",
    )


def other_spellings(labels: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """label → the first of `known` that may be the same class in another spelling, of the labels that have one."""
    left, found = list(labels), dict[str, str]()
    for key in _FOLDS:
        if not left:
            break
        first = {key(name): name for name in reversed(known)}
        found |= {label: first[folded] for label in left if (folded := key(label)) and folded in first}
        left = [label for label in left if label not in found]
    return found


def _groups(labels: Sequence[str]) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    for key in _FOLDS:
        by_key: dict[str, list[str]] = defaultdict(list)
        for label in labels:
            if folded := key(label):
                by_key[folded].append(label)
        found |= dict.fromkeys(tuple(group) for group in by_key.values() if len(group) > 1)
    found |= dict.fromkeys(_coded(labels))
    found |= dict.fromkeys(_truths(labels))
    with_label: dict[str, list[set[str]]] = defaultdict(list)
    for group in found:
        members = set(group)
        for label in group:
            with_label[label].append(members)
    return [g for g in found if not any(set(g) < other for other in with_label[g[0]]) and not _one_number(g)]


def _plain(label: str) -> str:
    """What is left of a label without case, edges, signs between its words, and accents."""
    text = unicodedata.normalize("NFKC", label).strip()
    text = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ][a-zß-ÿ])", " ", text).casefold()
    text = _TAGS.sub("", text)
    pair = _PAIRS.fullmatch(text)
    text = next(filter(None, pair.groups()), "") if pair is not None else text
    text = _DASHES.sub("-", _BETWEEN.sub("", _APOSTROPHES.sub("", _EDGES.sub("", text))))
    return _without_accents(text).translate(_LETTERS)


def _latin(label: str) -> str:
    """As `_plain`, without the script of letters that look like Latin ones."""
    return _plain(unicodedata.normalize("NFKC", label).translate(_LIKE_LATIN))


def _transliterated(label: str) -> str:
    """As `_latin`, with ä as ae and the like."""
    return _latin(unicodedata.normalize("NFKC", label).casefold().translate(_UMLAUTS))


_FOLDS = (_plain, _latin, _transliterated)
"""What is the same for two labels that may be one class, each looking away from more than the one before."""


def _without_accents(text: str) -> str:
    """`text` without accents of Latin and Greek letters and without points; in other scripts marks make other letters.

    An accent that Unicode has no letter for stands by itself (a stress in Russian, the dot that is left of Turkish İ).
    """
    bare = "".join(
        unicodedata.normalize("NFD", c)[0] if "\u00c0" <= c <= "\u03ff" or "\u1e00" <= c <= "\u1fff" else c
        for c in unicodedata.normalize("NFC", text)
    )
    return _MARKS.sub("", bare)


def _coded(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Labels of a number (or letter) and a name, beside the number or the name alone, or both in another notation."""
    by_key = {key: label for label in labels for key in (label.casefold(), _plain(label)) if key}
    groups: dict[str, list[str]] = defaultdict(list)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for label in labels:
        parts = _code_and_name(label)
        if parts is None:
            continue
        alike[parts].append(label)
        for part in parts:
            other = by_key.get(part)
            if other is not None and other != label:
                groups[label].append(other)
        if (item := _LISTED.fullmatch(label)) is not None:
            alike[(_plain(item["name"]),)].append(label)
    found = [(label, *dict.fromkeys(others)) for label, others in groups.items()]
    return found + [tuple(group) for group in alike.values() if len(group) > 1]


def _code_and_name(label: str) -> tuple[str, str] | None:
    """The number (or letter) and the name in a label such as "1: good" and "good (1)"; None: it has no such parts."""
    notations = (_CODE_AND_NAME, _CODE_AND_BRACKETS, _NAME_AND_CODE)
    match = next(filter(None, (notation.fullmatch(label) for notation in notations)), None)
    return None if match is None else (match["code"].casefold(), _plain(match["name"]))


def _truths(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Labels for true, and those for false, where all labels are one of these."""
    folded = {label: label.strip(" .").casefold() for label in labels}
    if not _TRUE.union(_FALSE).issuperset(folded.values()):
        return []
    groups = (tuple(label for label in labels if folded[label] in words) for words in (_TRUE, _FALSE))
    return [group for group in groups if len(group) > 1]


def _one_number(group: Sequence[str]) -> bool:
    """Whether all labels of a group are one number; another note says that."""
    return bool(set.intersection(*map(numbers_in, group)))


def _shown(label: str) -> str:
    """`label` in quotes, letters that look like Latin ones but are not escaped where others are Latin."""
    mixed = any("a" <= c.casefold() <= "z" for c in label)
    escaped = "".join(c.encode("unicode_escape").decode() if mixed and ord(c) in _LIKE_LATIN else c for c in label)
    return shown(label) if escaped == label else f'"{escaped}"'
