"""Notes on an encoding that a file's bytes make doubtful: any bytes decode with some of the single-byte encodings.

What the bytes are in the encodings of the same script is compared: the right one has that script's frequent letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_C1_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
"""U+0085 is left out: it is a line end in some encodings, and appears in real texts."""
_WINDOWS = {
    "iso8859-2": "cp1250", "iso8859-5": "cp1251", "iso8859-7": "cp1253", "iso8859-9": "cp1254", "iso8859-8": "cp1255",
    "iso8859-6": "cp1256", "iso8859-13": "cp1257",
}  # fmt: skip
"""The encoding of Windows that has the letters of an ISO one; cp1252 for the rest, which are of western Europe."""
_CYRILLIC = ("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "mac-cyrillic")
_FREQUENT = frozenset("оеаинті")
"""Nearly half of the letters of a text in a Slavic language, and a quarter where another encoding was meant."""
_FEWEST = 25
"""Letters of different words below which their frequencies say nothing."""
_CHINESE = {"big5": "big5", "cp950": "big5", "big5hkscs": "big5", "gbk": "gbk", "gb18030": "gbk", "gb2312": "gbk"}
_LATIN_9 = re.compile(r"(?<=\d)[ \xa0]?¤|¤[ \xa0]?(?=\d)|(?<=[a-z])½(?=[a-z])")
"""Where latin-1 has an amount in no currency or a fraction within a word: ISO-8859-15 has the euro sign and œ."""


def doubts(path: Path, raw: bytes, text: str, codec: str) -> tuple[str, ...]:
    """Notes on the encoding `codec` as which `raw` was read as `text`, for a user who has named it."""
    if raw.isascii() or codec.startswith("utf"):
        return ()
    asked = f"{path}: read as {codec}, as asked, but"
    if decoded(raw, "utf-8") is not None:
        return (f"{asked} its bytes are valid UTF-8; is --encoding right?",)
    if codec in ("cp1252", "iso8859-1", "iso8859-15") and letters_side_by_side(raw):
        return (f"{asked} hardly as a Latin script; is --encoding right?",)
    if (likely := _other_cyrillic(raw, text, codec) or _other_chinese(raw, codec)) is not None:
        return (f"{asked} its words are likelier ones as {likely}; is it --encoding {likely}?",)
    controls = len(_C1_CONTROLS.findall(text)) if codec.startswith("iso8859") else 0
    if controls:
        likely, has = _with_letters(raw, codec)
        asks = f", where {has}; is it --encoding {likely}?" if likely else "; is --encoding right?"
        return (f"{path}: {controls} control characters under {codec}{asks}",)
    if codec in ("cp1252", "iso8859-1") and (found := _LATIN_9.search(text)) is not None:
        meant = "€" if "¤" in found[0] else "œ"
        return (f'{asked} has "{found[0].strip()}" where iso8859-15 has "{meant}"; is it --encoding iso8859-15?',)
    return ()


def letters_side_by_side(raw: bytes) -> bool:
    """Whether bytes beyond ASCII mostly follow each other; accents of the Latin script stand alone."""
    runs = _BEYOND_ASCII.findall(raw)
    return bool(runs) and sum(map(len, runs)) > 2 * len(runs)


def decoded(raw: bytes, encoding: str) -> str | None:
    """`raw` in `encoding`; None: it is not in it."""
    try:
        return raw.decode(encoding)
    except UnicodeError:
        return None


def _other_cyrillic(raw: bytes, text: str, codec: str) -> str | None:
    """The Cyrillic encoding that fits `raw` far better than `codec`, a Cyrillic one too; None: there is none."""
    if codec not in _CYRILLIC:
        return None
    fits = {name: _cyrillic_fit(other) for name in _CYRILLIC if (other := decoded(raw, name)) is not None}
    best = max(fits, key=fits.__getitem__, default=None)
    doubtful = best is not None and fits[best] > 0.35 and fits[best] > 1.5 * _cyrillic_fit(text)
    return best if doubtful else None


def _cyrillic_fit(text: str) -> float:
    """The share of frequent letters in its different words, less that of capitals behind small letters."""
    words = {match[0] for match in re.finditer(r"[^\s\x00-\x7f]+", text)}
    size = sum(map(len, words))
    if size < _FEWEST:
        return 0.0
    frequent = sum(c in _FREQUENT for word in words for c in word.lower())
    swapped = sum(a.islower() and b.isupper() for word in words for a, b in pairwise(word))
    return (frequent - swapped) / size


def _other_chinese(raw: bytes, codec: str) -> str | None:
    """ "gb18030" or "big5", where that has frequent characters and `codec`, the other one, rare ones; else None."""
    own = _CHINESE.get(codec)
    if own is None:
        return None
    other, name = ("gbk", "gb18030") if own == "big5" else ("big5", "big5")
    doubtful = _frequent_share(raw, other) > 0.95 and _frequent_share(raw, own) < 0.85
    return name if doubtful else None


def _frequent_share(raw: bytes, encoding: str) -> float:
    """How many of the different characters are of the level that the encoding has for frequent ones and for signs."""
    text = decoded(raw, encoding)
    if text is None:
        return 0.0
    pairs = [c.encode(encoding) for c in set(text) if not c.isascii()]
    if encoding == "gbk":
        frequent = [p for p in pairs if p[0] in range(0xA1, 0xD8) and p[0] not in range(0xA4, 0xB0) and p[1] >= 0xA1]
    else:
        frequent = [p for p in pairs if p[0] in range(0xA1, 0xC7)]
    return len(frequent) / len(pairs) if len(pairs) > 5 else 0.0


def _with_letters(raw: bytes, codec: str) -> tuple[str, str]:
    """The encodings whose characters fit best where `codec` has control characters, and what they have; "": none."""
    windows = _WINDOWS.get(codec, "cp1252")
    older = {"cp1250": ("mac-latin2", "cp852"), "cp1252": ("mac_roman", "cp850")}.get(windows, ())
    fits = {name: _fit(text) for name in (windows, *older) if (text := decoded(raw, name)) is not None}
    best = [name for name in fits if fits[name] == max(fits.values())]
    if windows in best:
        return windows, f"{windows} has quotation marks, dashes or letters"
    return " or ".join(best), f"{' and '.join(best)} {'has' if len(best) == 1 else 'have'} letters"


def _fit(text: str) -> int:
    """How many characters beyond ASCII stand as they do in honest text, less those that do not."""
    return sum(_stands(*around) for around in _neighbours(text))


def _neighbours(text: str) -> Iterable[tuple[str, str, str]]:
    padded = f" {text} "
    return (t for t in zip(padded, padded[1:], padded[2:], strict=False) if not t[1].isascii())


def _stands(before: str, sign: str, after: str) -> int:
    """1: a small letter in a word, a capital before one, or a sign outside of words; -1: anything else."""
    if sign.islower():
        return 1 if before.isalpha() or after.isalpha() else -1
    if sign.isalpha():
        return -1 if before.islower() else 1
    within = before.isalpha() and after.isalpha()
    return 1 if sign in "’\xa0" or (sign in "‘“”„–—…€«»°£§" and not within) else -1
