"""Texts that an earlier program has garbled. They are remarked and never changed: only their writer can tell.

    mojibake           itâ€™s            UTF-8 that was read in another encoding
    encoding           fŸr              one Latin encoding that was read as another
    HTML entity        R&amp;D           a character's name in HTML
    Excel's escape     end_x000D_        a control character in an .xlsx file, as its XML spells it
    JSON's escape      caf\\u00e9        a character's code in JSON or source code
    RTF                {\\rtf1 end}      a word processor's file, with its commands
    line end           end.\\nNext       a line end in source code
    white space        end\\nNext, a\\tb  a line end or tab, as databases export it
    formula            ="text"           a cell that a spreadsheet should not convert
    byte-order mark    U+FEFF inside     the beginning of a file that was joined to another
    quoted-printable   it=E2=80=99s      bytes in an e-mail
    e-mail's header    =?UTF-8?B?w6k=?=  a word that is not ASCII in it
    URL's escape       caf%C3%A9         bytes in an address, where there is no address
    Python's bytes     b'so'             bytes that were printed
    R's escape         caf<U+00E9>       a character that R's locale lacks
    escaped quotes     it\\'s  it''s     as programs write them in source code and SQL
    doubled quotes     a ""good"" end    as a CSV file has them within quotes
    form's encoding    a+good+end        spaces, as a web form sends them
    lost letters       ???? ?????        characters that an encoding lacks
    lost backslash     donu2019t         JSON's escape without its backslash
    terminal's escape  ESC[31m           colours of a terminal
    ISO-2022-JP        ESC$B…ESC(B       Japanese text that was read as ASCII

What honest texts show too is none of these: accents of TeX (caf\\'e), escapes within an address, italics of a wiki.
"""

from __future__ import annotations

import ast
import html
import html.entities
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semtune.tasks import garbled_transport
from semtune.tasks.mojibake import misread, mojibake
from semtune.tasks.remarks import Remarks, shown

_CONTEXT = 20
"""Characters that an example shows on either side of what was found."""


def remark_garbled(texts: Iterable[str], what: str, where: str, remarks: Remarks) -> None:
    """Add a remark for each way in which one of a row's `texts` seems garbled; they are `what`: "text" or "label"."""
    held = [*texts]
    rich = any(map(_rtf, held))
    for kind in _KINDS[:1] if rich else _KINDS[1:]:
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


_Found = garbled_transport.Found
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_EXCEL = re.compile(r"_x[0-9A-Fa-f]{4}_")
_JSON = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_RTF = re.compile(r"\s*\{\\rtf\d")
_RTF_COMMAND = re.compile(r"\{\\(?:fonttbl|colortbl|\*)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\\[a-z]+-?\d* ?|[{}]")
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
_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)
_R = re.compile(r"<U\+(?P<code>[0-9A-Fa-f]{4,8})>")
_BACKSLASHED = re.compile(r"\w+\\'(?:s|t|re|ve|ll|d|m)\b|(?<!\S)\\([\"'])(?=\w)[^\\]*\\\1(?!\w)")
"""Quotes behind backslashes, where they are no accents of TeX, such as caf\\'e."""
_DOUBLED = re.compile(r"\w+''(?:s|t|re|ve|ll|d|m)\b|\b(?:[ldjmtnsc]|qu)''\w+", re.IGNORECASE)
_DOUBLED_QUOTES = re.compile(r'(?<!["\w])""(?=\w)[^"]*(?<=[\w.,!?])""(?!["\w])')
_WIKI = re.compile(r"(?<!\w)''(?=\w)")
"""The beginning of italics in a wiki."""
_LOST_BACKSLASH = re.compile(r"(?<=[^\W\d_])u(?:201[89](?=[^\W\d_])|00[c-f][0-9a-f](?!\d))")
_LOST_LETTERS = re.compile(r"(?<!\S)\?{2,}(?:[,.]? \?{2,})+(?!\S)")  # "??? ???" may be what somebody wrote
_TERMINAL = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


def _entity(text: str) -> _Found:
    found = entity_in(text)
    return None if found is None else (found, html.unescape(found), "")


def _excel(text: str) -> _Found:
    match = _EXCEL.search(text) if "_x" in text else None
    return None if match is None else (match[0], chr(int(match[0][2:6], 16)), "")


def _json(text: str) -> _Found:
    match = _JSON.search(text) if "\\u" in text else None
    return None if match is None else (match[0], str(json.loads(f'"{match[0]}"')), "")


def _rtf(text: str) -> _Found:
    return (text, _RTF_COMMAND.sub("", text).strip(), "") if _RTF.match(text) else None


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


def _bytes(text: str) -> _Found:
    if not _BYTES.fullmatch(text):
        return None
    try:
        return text, ast.literal_eval(text).decode("utf-8"), ""
    except (SyntaxError, ValueError):  # a UnicodeDecodeError is a ValueError
        return None


def _r(text: str) -> _Found:
    match = _R.search(text) if "<U+" in text else None
    return None if match is None or (code := int(match["code"], 16)) > sys.maxunicode else (match[0], chr(code), "")


def _backslashed(text: str) -> _Found:
    match = _BACKSLASHED.search(text) if "\\" in text else None
    return None if match is None else (match[0], match[0].replace("\\", ""), "")


def _doubled(text: str) -> _Found:
    match = _DOUBLED.search(text) if "''" in text and not _WIKI.search(text) else None
    return None if match is None else (match[0], match[0].replace("''", "'"), "")


def _doubled_quotes(text: str) -> _Found:
    match = _DOUBLED_QUOTES.search(text) if '""' in text else None
    return None if match is None else (match[0], match[0].replace('""', '"'), "")


def _lost_backslash(text: str) -> _Found:
    if not _LOST_BACKSLASH.search(text):
        return None
    word = next(filter(_LOST_BACKSLASH.search, text.split()))
    return word, _LOST_BACKSLASH.sub(lambda match: chr(int(match[0][1:], 16)), word), ""


def _lost_letters(text: str) -> _Found:
    runs = (match[0] for match in _LOST_LETTERS.finditer(text) if len(set(re.findall(r"\?+", match[0]))) > 1)
    return None if (run := next(runs, None)) is None else (run, "words in letters that are lost", "")


def _terminal(text: str) -> _Found:
    match = _TERMINAL.search(text) if "\x1b" in text else None
    if match is None:
        return None
    around = text[match.start() : match.end() + _CONTEXT]
    return around, _TERMINAL.sub("", around), ""


@dataclass(frozen=True)
class _Kind:
    """One way of garbling: what a remark says of it, and what helps."""

    find: Callable[[str], _Found]
    looks: str
    advice: str


_KINDS = (
    _Kind(_rtf, "is RTF with its commands", "convert it to plain text first"),  # whose escapes are no other kind's
    _Kind(
        mojibake,
        "looks like UTF-8 that an earlier program read as {how}",
        "export the original again as UTF-8, or repair the file (encode as that, decode as UTF-8)",
    ),
    _Kind(
        misread,
        "looks like {how}",
        "check the file's encoding (--encoding mac_roman, cp1250, cp1254, cp1252, …), or export it again as UTF-8",
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
    _Kind(
        garbled_transport.mime,
        "is encoded as in an e-mail's header",
        "decode it first (in Python: email.header.decode_header)",
    ),
    _Kind(
        garbled_transport.url,
        "holds escapes of a URL",
        "decode the file where that is not meant (in Python: urllib.parse.unquote)",
    ),
    _Kind(_bytes, "is written as Python's bytes", "decode the bytes where the file is written"),
    _Kind(_r, "holds an escape of R", "write the file in R as UTF-8 (fileEncoding, or readr::write_csv)"),
    _Kind(_backslashed, "holds quotes behind backslashes", "remove these in the file where that is not meant"),
    _Kind(_doubled, "holds a doubled apostrophe, as SQL writes it", "write one in the file where that is not meant"),
    _Kind(_doubled_quotes, "holds doubled quotes, as within quotes of CSV", "write one in the file if not meant"),
    _Kind(
        garbled_transport.pluses,
        "has + in place of spaces, as web forms send it",
        "decode it (in Python: urllib.parse.unquote_plus)",
    ),
    _Kind(_lost_backslash, "seems to hold an escape of JSON without its backslash", "export the original again"),
    _Kind(_lost_letters, "seems to hold question marks in place of letters", "export the original again as UTF-8"),
    _Kind(_terminal, "holds escapes of a terminal", "write the file without colours"),
    _Kind(garbled_transport.iso_2022, "is in ISO-2022-JP, read as ASCII", "read the file with --encoding iso2022_jp"),
    _Kind(garbled_transport.quoted_printable, "looks like an e-mail's quoted-printable form", "decode the file first"),
)
