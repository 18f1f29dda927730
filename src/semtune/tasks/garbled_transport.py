"""Texts in the forms in which mail and the web carry them; `garbled` has the others."""

from __future__ import annotations

import re
import urllib.parse

Found = tuple[str, str, str] | None
"""What is written, what it stands for, and how it came about; None: nothing was found."""
_MIME = re.compile(r"=\?[A-Za-z][\w-]*\?[BbQq]\?[^?\s]+\?=")
_URL = re.compile(r"(?:%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f])+)+|(?<=[^\W\d_])%20(?=[^\W\d_])")
_ISO_2022 = re.compile("\x1b\\$[@B][!-~]+(?:\x1b\\([BJ])?")
_QUOTED_PRINTABLE = re.compile(r"=[C-F][0-9A-F](?:=[89AB][0-9A-F])+")
_PLUSES = re.compile(r"[^\s+]+(?:\+[^\s+]+){3,}")


def quoted_printable(text: str) -> Found:
    """Bytes of an e-mail, such as "=C3=A9"."""
    for match in _QUOTED_PRINTABLE.finditer(text) if "=" in text else ():
        try:
            return match[0], bytes.fromhex(match[0].replace("=", "")).decode("utf-8"), ""
        except UnicodeDecodeError:
            continue
    return None


def mime(text: str) -> Found:
    """A word of an e-mail's header that is not ASCII, such as "=?UTF-8?B?w6k=?="."""
    match = _MIME.search(text) if "=?" in text else None
    if match is None:
        return None
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return match[0], str(make_header(decode_header(match[0]))), ""
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return match[0], "encoded text", ""


def url(text: str) -> Found:
    """Bytes of an address, such as "%C3%A9", outside of addresses."""
    for word in text.split() if "%" in text else ():
        if not {"/", "="} & set(word) and _URL.search(word):
            meant = urllib.parse.unquote(word)
            if "\ufffd" not in meant:
                return word, meant, ""
    return None


def iso_2022(text: str) -> Found:
    """Japanese text in ISO-2022-JP that was read as ASCII."""
    match = _ISO_2022.search(text) if "\x1b" in text else None
    return None if match is None else (match[0], match[0].encode().decode("iso2022_jp", errors="replace"), "")


def pluses(text: str) -> Found:
    """A text with + in place of spaces, as a web form sends it."""
    if "+" not in text or not _PLUSES.fullmatch(text):
        return None
    words = text.split("+")
    return (text, " ".join(words), "") if sum(word.isalpha() and len(word) > 1 for word in words) > 2 else None
