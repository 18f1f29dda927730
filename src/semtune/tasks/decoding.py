"""The bytes of a user's text file as text: byte-order marks, encodings, and files that hold no text at all.

Nothing is guessed. Where the bytes contradict the encoding, a DataError names the option or the step that helps; what
is allowed but doubtful becomes a note.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import re
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semtune.errors import DataError, OptionError, PathError
from semtune.runtime.files import check_path, no_file
from semtune.tasks.doubtful_encoding import decoded, doubts, letters_side_by_side

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 comes before UTF-16, whose little-endian mark is the beginning of UTF-32's."""
GZIP = b"\x1f\x8b"
FOREIGN_FILES = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "save the sheet as CSV (UTF-8), or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind", "save the sheet as CSV (UTF-8)"),
    (b"PAR1", "a Parquet file", "give it the suffix .parquet"),
    (b"ARROW1", "an Arrow (Feather) file", "save the table as Parquet"),
    (b"\x89HDF", "an HDF5 file", "save the table as Parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"{\\rtf", "a document in Rich Text Format", "save it as plain text (UTF-8)"),
    (b"%PDF-", "a PDF", "export the table as CSV"),
    (GZIP, "a gzip file inside another one", "unpack it once"),
    (b"BZh91AY&SY", "a bzip2 archive", "unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    (b"version https://git-lfs", "a pointer that Git LFS left in place of the data", "fetch it with `git lfs pull`"),
)
"""First bytes of files that are no text, what they are, and what to do."""
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LATIN = "cp1252 (western Europe); cp1250 (central Europe); cp1254 (Turkish); mac_roman (older Macs); cp850 (DOS)"
"""Encodings of the Latin script, the most frequent first; mac_roman and cp850 decode any bytes."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of a file, and notes on how it was decoded."""

    text: str
    notes: tuple[str, ...] = ()
    other_line_ends: bool = False
    """Whether the file has line ends that became "\\n"."""


def decode_file(path: Path, encoding: str = "utf-8", *, encoding_option: bool = False) -> Decoded:
    """The text of `path`, unpacked where it is gzip. A byte-order mark is dropped and line ends become "\\n".

    Args:
        encoding_option: whether the user can name another encoding with --encoding; it changes the advice only.

    Raises:
        DataError: the file is missing, unreadable, empty, no text file, or not in `encoding`.
        OptionError: there is no such encoding.
    """
    codec = _codec(encoding)
    raw = read_bytes(path)
    _check_is_text_file(path, raw)
    mark, marked = next(((m, name) for m, name in BYTE_ORDER_MARKS if raw.startswith(m)), (b"", ""))
    if marked and not codec.startswith(marked):
        advice = f"name its encoding with --encoding {marked}" if encoding_option else "save it as UTF-8"
        raise DataError(
            f"{path} is not {encoding.upper()} text but {marked.upper()}, as its byte-order mark says; {advice}."
        )
    if not marked and codec.startswith(("utf-16", "utf-32")) and b"\0" not in raw and _decodes(raw, "utf-8"):
        raise DataError(f"{path} is UTF-8 text, not {encoding.upper()}; leave out --encoding {encoding}.")
    order = None if marked or not codec.startswith("utf-16") else _utf16_order(raw)
    if order is not None and order != {"utf-16": f"utf-16-{sys.byteorder[0]}e"}.get(codec, codec):
        raise DataError(f"{path} has its bytes in the other order; try --encoding {order}.")
    try:
        # With a mark "utf-16" knows the byte order, whichever of the two a user has named.
        text = raw.decode(marked or codec)
    except LookupError as error:
        raise _no_such_encoding(encoding) from error
    except UnicodeError as error:
        raise _wrong_encoding(path, raw, encoding, error, encoding_option) from error
    text = text.lstrip("\ufeff") if mark else text.removeprefix("\ufeff")
    _check_characters(path, raw, text, encoding_option)
    if not text.strip():
        raise DataError(f"{path} is empty.")
    lines = _with_line_feeds(text)
    return Decoded(lines, doubts(path, raw, text, codec), other_line_ends=lines != text)


def check_one_encoding(paths: Iterable[Path]) -> None:
    """Raises DataError where files that are read with one --encoding have two; files that cannot be read are left out.

    Advice on each of them alone would lead from one encoding to the other and back.
    """
    kinds: dict[str, Path] = {}
    for path in paths:
        try:
            raw = read_bytes(path)
        except DataError:
            continue
        if not any(raw.startswith(beginning) for beginning, *_ in FOREIGN_FILES):
            kinds.setdefault(_kind_of_bytes(raw), path)
    wide = {kind for kind in kinds if kind.startswith(("UTF-16", "UTF-32"))}
    if "other" in kinds and "UTF-8" in kinds:
        one, what, other = kinds["other"], "not UTF-8 text", "UTF-8"
    elif wide and len(kinds) > 1:
        kind = min(wide)
        one, what = kinds[kind], f"{kind} text"
        other = next(other for other in kinds if other != kind)
    else:
        return
    same = f"{kinds[other]} is" if what.startswith("not") else f"{kinds[other]} is not"
    raise DataError(
        f"{one} is {what}, but {same}, and one --encoding is for all files; save each of them as UTF-8, and leave out "
        "--encoding."
    )


def _kind_of_bytes(raw: bytes) -> str:
    """ "ASCII", "UTF-8", "UTF-16" or "UTF-32" (by its byte-order mark), "other", or "unclear"."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    if marked is not None:
        return marked.upper()
    if b"\0" in raw:
        return "unclear"
    if raw.isascii():
        return "ASCII"
    return "UTF-8" if _decodes(raw, "utf-8") else "other"


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def path_of(given: str) -> Path:
    """The path that a user names, "~" expanded. Raises DataError where this system can have no such path.

    A URL and a pattern that matches other files are refused here: as paths they would only be files that do not exist.
    """
    if _URL.match(given):
        raise DataError(f"{given[:200]} is a URL, but a file is needed; download it and name the file.")
    try:
        check_path(given)
        path = Path(given).expanduser()
        path.is_dir()
    except PathError as error:
        raise DataError(str(error)) from error
    except (OSError, RuntimeError) as error:  # no such user
        raise DataError(f"{given[:200]} cannot be a file ({getattr(error, 'strerror', None) or error}).") from error
    if not path.exists() and (matches := sorted(path.parent.glob(path.name)) if glob.has_magic(path.name) else []):
        raise DataError(
            f"{given[:200]} is a pattern of {len(matches)} files (first: {Path(matches[0]).name}), but one file is "
            "needed; join them, or give train, dev and test by an option each."
        )
    return path


def read_bytes(path: Path) -> bytes:
    """The bytes of `path`, unpacked where they are gzip. Raises DataError."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(no_file(path)) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, but a file is needed; name the file.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise DataError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not raw.startswith(GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a broken gzip file ({error}); fetch it again.") from error


def _codec(encoding: str) -> str:
    """Python's name of an encoding. Raises OptionError."""
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:  # ValueError: a null character in the name
        raise _no_such_encoding(encoding) from error
    return "utf-8" if name == "utf-8-sig" else name


def _no_such_encoding(encoding: str) -> OptionError:
    return OptionError(f'There is no text encoding called "{encoding}"; try utf-8, utf-16, cp1252 or latin-1.')


def _check_is_text_file(path: Path, raw: bytes) -> None:
    for beginning, what, advice in FOREIGN_FILES:
        if raw.startswith(beginning):
            raise DataError(f"{path} is {what}, not text; {advice}.")
    if _WEB_PAGE.match(raw):
        raise DataError(f"{path} is a web page, not a table; download the file itself (the link to its raw form).")


def _wrong_encoding(path: Path, raw: bytes, encoding: str, error: UnicodeError, option: bool) -> DataError:
    place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
    what = f"{path} is not {encoding.upper()} text{place}"
    if not option:
        return DataError(f"{what}; save it as UTF-8.")
    if _codec(encoding) == "utf-8":
        broken, foreign = _utf8_lines(raw)
        if foreign >= len(broken) > 0:
            more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
            return DataError(
                f"{what}, though {foreign} other lines with letters beyond ASCII are: the file mixes encodings; repair "
                f"line {broken[0]}{more}, or name another encoding with --encoding."
            )
        if letters_side_by_side(raw):
            likely = "cp1251 (Cyrillic), gb18030 (Chinese), shift_jis (Japanese) or euc_kr (Korean)"
        else:
            names = [name for name in _LATIN.split("; ") if _decodes(raw, name.split()[0])][:4]
            likely = f"{', '.join(names[:-1])} or {names[-1]}"
        return DataError(f"{what}; name its encoding with --encoding, e.g. --encoding {likely}.")
    return DataError(f"{what}; name its encoding with --encoding, e.g. --encoding {_other_encoding(raw)}.")


def _utf8_lines(raw: bytes) -> tuple[list[int], int]:
    """The numbers of the lines that are not UTF-8, and how many of the others hold characters beyond ASCII."""
    broken, foreign = [], 0
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if line.isascii():
            continue
        if _decodes(line, "utf-8"):
            foreign += 1
        else:
            broken.append(number)
    return broken, foreign


def _other_encoding(raw: bytes) -> str:
    return next((name for name in ("utf-8", "cp1252") if _decodes(raw, name)), "latin-1")


def _decodes(raw: bytes, encoding: str) -> bool:
    return decoded(raw, encoding) is not None


def _check_characters(path: Path, raw: bytes, text: str, option: bool) -> None:
    """Raises DataError for NUL characters (UTF-16 without a mark has them) and halves of surrogate pairs."""
    position = text.find("\0")
    if position >= 0:
        wide = _utf16_order(raw)
        if wide is not None and option:
            raise DataError(f"{path} looks like UTF-16 text without a byte-order mark; try --encoding {wide}.")
        line = text.count("\n", 0, position) + 1
        raise DataError(f"{path}, line {line} holds a NUL character, so it is no text file or is damaged; repair it.")
    half = _SURROGATE.search(text)
    if half is not None:
        line = text.count("\n", 0, half.start()) + 1
        raise DataError(f"{path}, line {line} holds half a surrogate pair, which is no character; repair it there.")


def _utf16_order(raw: bytes) -> str | None:
    """The UTF-16 byte order in which most characters would be of the Latin scripts; None: it is no UTF-16."""
    half = len(raw) // 2
    for name, high in (("utf-16-le", raw[1::2]), ("utf-16-be", raw[0::2])):
        if half and high.count(0) > 0.4 * half and _decodes(raw, name):
            return name
    return None


def _with_line_feeds(text: str) -> str:
    """`text` with "\\n" as its line end. A lone carriage return is a line end only where there is no line feed."""
    text = text.replace("\r\n", "\n")
    return text.replace("\r", "\n") if "\n" not in text else text
