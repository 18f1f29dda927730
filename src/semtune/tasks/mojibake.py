"""Mojibake: UTF-8 that an earlier program read in another encoding.

It is told from honest text by what it decodes to: "CAFÉ…" holds the bytes of a letter too, but of a rare one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CONTEXT = 20
"""Characters on either side in which the rest of a word is looked for."""
_ORDINARY = frozenset("’‘”“…–—»«\u00a0!?")
"""Punctuation that may follow an accented capital in honest text, although its byte in cp1252 is one of UTF-8's."""
_RUN = 3
"""Characters of another script than the one the text seems to be in, from which on a run is mojibake."""


@dataclass(frozen=True)
class _Encoding:
    """An encoding of one byte a character in which programs read UTF-8 by mistake."""

    name: str
    byte_of: dict[str, int] = field(init=False)
    pattern: re.Pattern[str] = field(init=False)
    """A run of characters whose bytes have the form of UTF-8 beyond ASCII."""

    def __post_init__(self) -> None:
        byte_of = {chr(b): b for b in range(0x80, 0xA0)}  # what cp1252 lacks is read as a control character
        byte_of |= {bytes([b]).decode(self.name, errors="ignore"): b for b in range(0x80, 0x100)}
        byte_of.pop("", None)

        def any_of(first: int, last: int) -> str:
            return "[" + "".join(re.escape(c) for c, b in byte_of.items() if first <= b <= last) + "]"

        follow = any_of(0x80, 0xBF)
        forms = [any_of(0xC2, 0xDF) + follow, any_of(0xE0, 0xEF) + follow * 2, any_of(0xF0, 0xF4) + follow * 3]
        object.__setattr__(self, "byte_of", byte_of)
        object.__setattr__(self, "pattern", re.compile(f"(?:{'|'.join(forms)})+"))

    def decoded(self, run: str) -> str | None:
        """The text that the bytes of `run` are in UTF-8; None: they are not UTF-8."""
        try:
            return bytes(self.byte_of[c] for c in run).decode("utf-8")
        except UnicodeDecodeError:
            return None

    def repaired(self, text: str) -> str:
        """`text` with every run decoded."""
        return self.pattern.sub(lambda match: self.decoded(match[0]) or match[0], text)


_ENCODINGS = tuple(map(_Encoding, ("cp1252", "mac_roman", "cp1251", "cp850", "cp437")))


def mojibake(text: str) -> tuple[str, str, str] | None:
    """A word of `text` that is mojibake, what it stands for, and the encoding; None: there is none."""
    if text.isascii():
        return None
    for encoding in _ENCODINGS:
        for match in encoding.pattern.finditer(text):
            meant = encoding.decoded(match[0])
            if meant is None or not _convincing(encoding, match, meant):
                continue
            start, end = match.start(), match.end()
            before = re.split(r"\s", text[max(0, start - _CONTEXT) : start])[-1]
            after = re.split(r"\s", text[end : end + _CONTEXT])[0]
            word = before + match[0] + after
            return word, encoding.repaired(word), encoding.name
    return None


def _convincing(encoding: _Encoding, match: re.Match[str], meant: str) -> bool:
    """Whether a run is rather what `meant` looks like in `encoding` than honest text."""
    run, first = match[0], meant[0]
    text, start, end = match.string, match.start(), match.end()
    inside = text[start - 1 : start].islower() or text[end : end + 1].islower()
    if "\u2010" <= first <= "\u2044" or first in "\u20ac\u2122\ufeff\ufffd" or first >= "\U0001f000":
        return not set(run[1:3]) <= _ORDINARY
    if encoding.name != "cp1252":
        return len(meant) >= _RUN or (inside and first.isalpha() and first < "\u0180" and run[0] in "√├")
    if len(meant) > 1 and not set(run) & _ORDINARY:
        return True
    if "\u00a0" <= first <= "\u00bf":
        return True
    if "\u00c0" <= first <= "\u017f":
        return inside or not (run[1] in _ORDINARY or (run[0] == "Å" and run[1] in "¹²³"))
    return "\u2100" <= first <= "\u2bff" and not set(run[1:]) <= _ORDINARY
