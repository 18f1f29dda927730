"""Mojibake: UTF-8 that an earlier program read in another encoding, and one Latin encoding that was read as another.

It is told from honest text by what it decodes to: "CAFÉ…" holds the bytes of a letter too, but of a rare one, and "fŸr"
has a capital where the same byte is a small letter in another encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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


_CAPITALS = "À-ÖØ-ÞŒŠŸŽ"
_INSIDE = re.compile(
    rf"(?<=[a-z])[†‡ˆ‰‚¤§¬¯¸™¹³¿≥∏πŸŽŠÕ](?=[a-z])|(?<=[a-z])ˆ(?!\w)|(?<!\w)Ÿ(?=[a-z])"
    rf"|(?<=[a-z]{{3}})[{_CAPITALS}](?![A-Z{_CAPITALS}])"
)
"""A sign or an accented capital within or at the end of a word of small letters."""
_TURKISH = re.compile(
    r"[a-zçöü]þ(?!\w)|[ðþ]\w*[üç]|[üç]\w*[ðþ]|[a-zýöç]þ[bcdfgklmnpstz]|(?<!\w)ý[ðþ](?=[bcdfgklmnpstzý])"
    r"|\w[ðþ]ý(?!\w)|ý\w*[ðþ]\w*ý|[ðþ]\w*ý\w*ý|ý\w*ý\w*[ðþ]|(?<!\w)(?:[Dd]eðil|þey(?:i|e|in|ler\w*)?(?!\w))"
)
"""Turkish ğ, ş and ı where Icelandic and Faroese never have ð, þ and ý: there þ begins a syllable."""
_MISREAD = (
    (_TURKISH, ("cp1254", "cp1252")),
    (re.compile(r"(?<=[a-z])[ˆ‰¸](?=[a-z])"), ("cp1252", "mac_roman")),
    (_INSIDE, ("mac_roman", "cp1252"), ("cp1250", "cp1252"), ("cp850", "cp1252"), ("cp1252", "mac_roman"),
     ("cp1250", "mac_roman")),
)  # fmt: skip
"""What words of a Latin encoding hold that were read as another one; pairs of the encoding and the other one."""
_NAMES = frozenset("#@/\\_")
"""What a hashtag, an address, a path or a name in a program has, whose capitals and signs stand anywhere."""


def misread(text: str) -> tuple[str, str, str] | None:
    """A word of `text` in a Latin encoding that was read as another one, what it stands for, and both; None: none is.

    All words with such a sign must be words in that encoding, and each character of the text one of the other.
    """
    if text.isascii():
        return None
    for pattern, *pairs in _MISREAD:
        words = [*_words(text, pattern)]
        for own, read in pairs if words else ():
            meant = [_read_again(word, own, read) for word in words]
            if all(meant) and _can_be(text, read):
                return None if mojibake(text) else (words[0], meant[0] or "", f"{own} that was read as {read}")
    return None


def _words(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """The words in which `pattern` is found, but for names; a question of Spanish may lack its space: hola¿qué tal?"""
    if pattern.search(text) is None:
        return
    for match in re.finditer(r"\S+", text):
        word = match[0]
        spanish = "¿" in word and "?" in text[match.start() :]
        if pattern.search(word) and _NAMES.isdisjoint(word) and not spanish:
            yield word


def _read_again(word: str, own: str, read: str) -> str | None:
    """What `word`, read as `read`, is in the encoding `own`; None: no word, as others than small letters come out."""
    try:
        meant = word.encode(read).decode(own)
    except UnicodeError:
        return None
    changed = [new for old, new in zip(word, meant, strict=True) if old != new]
    likely = all((c.islower() and c < "\u0250") or c in "’…" for c in changed)
    return meant if changed and likely else None


def _can_be(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True
