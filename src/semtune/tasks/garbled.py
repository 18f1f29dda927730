"""Texts that an earlier program has garbled. They are remarked and never changed: only their writer can tell.

    mojibake           itâ€™s            UTF-8 that was read in another encoding
    HTML entity        R&amp;D           a character's name in HTML
    Excel's escape     end_x000D_        a control character in an .xlsx file, as its XML spells it
    JSON's escape      caf\\u00e9        a character's code in JSON or source code
    line end           end.\\nNext       a line end in source code
    white space        end\\nNext, a\\tb  a line end or tab, as databases export it
    formula            ="text"           a cell that a spreadsheet should not convert
    byte-order mark    U+FEFF inside     the beginning of a file that was joined to another
    quoted-printable   it=E2=80=99s      bytes in an e-mail

Mojibake is told from honest text by what it decodes to: "CAFÉ…" holds the bytes of a letter too, but of a rare one.
"""

from __future__ import annotations

import html
import html.entities
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from semtune.tasks.remarks import Remarks, shown

_CONTEXT = 20
"""Characters that an example shows on either side of what was found."""
_ORDINARY = frozenset("’‘”“…–—»«\u00a0!?")
"""Punctuation that may follow an accented capital in honest text, although its byte in cp1252 is one of UTF-8's."""
_RUN = 3
"""Characters of another script than the one the text seems to be in, from which on a run is mojibake."""


def remark_garbled(texts: Iterable[str], what: str, where: str, remarks: Remarks) -> None:
    """Add a remark for each way in which one of a row's `texts` seems garbled; they are `what`: "text" or "label"."""
    held = [*texts]
    for kind in _KINDS:
        found = next(filter(None, map(kind.find, held)), None)
        if found is not None:
            written, meant, how = found
            remarks.row(
                f"a {what} {kind.looks.format(how=how)}, and was taken as it stands,",
                where,
                example=f"{shown(written)} for {shown(meant)}",
                advice=kind.advice,
            )


def remark_damaged(text: str, where: str, remarks: Remarks) -> None:
    """Add a remark for each way in which a text seems to have lost characters, or to be garbled."""
    if "\ufffd" in text:
        remarks.row("a text holds U+FFFD, which a former wrong decoding left in it,", where)
    remark_garbled([text], "text", where, remarks)


def entity_in(text: str) -> str | None:
    """The first HTML entity in `text`, such as "&amp;"; None: there is none."""
    for match in _ENTITY.finditer(text) if "&" in text else ():
        if match[0][1] == "#" or match[0][1:] in html.entities.html5:
            return match[0]
    return None


_Found = tuple[str, str, str] | None
"""What is written, what it stands for, and how it came about; None: nothing was found."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_EXCEL = re.compile(r"_x[0-9A-Fa-f]{4}_")
_JSON = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_LINE_END = re.compile(r"\\r\\n|\\n\\n|[.!?,]\\n(?![a-z])")
_WHITE_SPACE = re.compile(r"(?<=[^\s\\:])\\[nrt](?![\w{]*[\\{])(?=\w|\s|$)")
"""A line end or a tab that is written out behind a word."""
_PATH = re.compile(r"[A-Za-z]:|\.{1,2}\\|\\\\|\\[^nrt]|\.\w{1,4}$")
"""What a word with a backslash has that is a path, or a command of TeX."""
_TEX = frozenset(
    {"nabla", "ne", "neg", "neq", "newline", "ni", "not", "notin", "nu", "noindent", "rangle", "rho", "right", "rm"}
    | {"rightarrow", "tan", "tanh", "tau", "text", "textbf", "textit", "tfrac", "theta", "tilde", "times", "to", "top"}
    | {"triangle", "ref", "tag", "nonumber", "newcommand", "renewcommand", "title", "table", "toprule", "node"}
)
"""Commands of TeX that begin with n, r or t."""
_FORMULA = re.compile(r"=\s*(?:(?:T|TEXT|CONCATENATE|HYPERLINK|TRIM|CLEAN)\(.*\)|\"(?P<text>.*)\")", re.DOTALL)
_APOSTROPHE = re.compile(r"'([-+]?\d+(?:[.,]\d+)?|=.*)", re.DOTALL)
_QUOTED_PRINTABLE = re.compile(r"=[C-F][0-9A-F](?:=[89AB][0-9A-F])+")


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


def _mojibake(text: str) -> _Found:
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


def _entity(text: str) -> _Found:
    found = entity_in(text)
    return None if found is None else (found, html.unescape(found), "")


def _excel(text: str) -> _Found:
    match = _EXCEL.search(text) if "_x" in text else None
    return None if match is None else (match[0], chr(int(match[0][2:6], 16)), "")


def _json(text: str) -> _Found:
    match = _JSON.search(text) if "\\u" in text else None
    return None if match is None else (match[0], str(json.loads(f'"{match[0]}"')), "")


def _line_end(text: str) -> _Found:
    match = _LINE_END.search(text) if "\\" in text else None
    return None if match is None else (match[0], _with_white_space(match[0]), "")


def _white_space(text: str) -> _Found:
    for word in text.split() if "\\" in text else ():
        match = _WHITE_SPACE.search(word)
        names = re.findall(r"\\([A-Za-z]+)", word)
        if match is not None and not _PATH.search(word) and not _LINE_END.search(word) and _TEX.isdisjoint(names):
            return word, _with_white_space(word), ""
    return None


def _with_white_space(text: str) -> str:
    """`text` with a sign where it has an escape: a line end itself would be shown as its escape again."""
    return text.replace("\\r\\n", "⏎").replace("\\r", "⏎").replace("\\n", "⏎").replace("\\t", "⇥")


def _formula(text: str) -> _Found:
    match = _FORMULA.fullmatch(text.strip()) if text.lstrip().startswith("=") else None
    if match is None:
        return None
    return match[0], match[0] if match["text"] is None else match["text"].replace('""', '"'), ""


def _apostrophe(text: str) -> _Found:
    match = _APOSTROPHE.fullmatch(text)
    return None if match is None else (text, match[1], "")


def _byte_order_mark(text: str) -> _Found:
    place = text.find("\ufeff")
    if place < 0:
        return None
    around = text[max(0, place - _CONTEXT) : place + 1 + _CONTEXT]
    return around, around.replace("\ufeff", ""), ""


def _quoted_printable(text: str) -> _Found:
    for match in _QUOTED_PRINTABLE.finditer(text) if "=" in text else ():
        try:
            return match[0], bytes.fromhex(match[0].replace("=", "")).decode("utf-8"), ""
        except UnicodeDecodeError:
            continue
    return None


@dataclass(frozen=True)
class _Kind:
    """One way of garbling: what a remark says of it, and what helps."""

    find: Callable[[str], _Found]
    looks: str
    advice: str


_KINDS = (
    _Kind(
        _mojibake,
        "looks like UTF-8 that an earlier program read as {how}",
        "export the original again as UTF-8, or repair the file (encode as that, decode as UTF-8)",
    ),
    _Kind(_entity, "holds an HTML entity", "unescape the file where that is not meant (in Python: html.unescape)"),
    _Kind(_excel, "holds an escape of Excel's file format", "replace it in the file where that is not meant"),
    _Kind(_json, "holds an escape of JSON", "decode the file once more where that is not meant"),
    _Kind(_line_end, "holds a line end that is written out", "replace it in the file where that is not meant"),
    _Kind(
        _white_space,
        "holds a line end or a tab that is written out, as databases export it",
        "replace it in the file where that is not meant",
    ),
    _Kind(_formula, "is a formula of a spreadsheet", "export the values instead of the formulas"),
    _Kind(_apostrophe, "has an apostrophe in front, with which spreadsheets mark a text", "remove it in the file"),
    _Kind(
        _byte_order_mark,
        "holds a byte-order mark (U+FEFF), as files that were joined leave it",
        "join the files without their marks",
    ),
    _Kind(_quoted_printable, "looks like an e-mail's quoted-printable form", "decode the file first"),
)
