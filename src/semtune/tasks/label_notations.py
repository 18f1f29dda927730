"""Notations of several labels in one cell that are no list which could be read, and what to say of them.

[1, 0, 1]            a number for each label of a list that stands elsewhere
{a,b}   [a, b]       brackets without quotes, as databases write arrays
c("a", "b")          the same with a word before them, as R and Scala print vectors and lists
<a><b>   [a][b]      each label in brackets of its own, as Stack Overflow writes tags
a:0.8,b:0.2          a probability for each label
"a"   'b'            quotes that a program wrote around each label
a,"b, c"   a\\|b      quotes or backslashes that keep a separator from separating
a & b   #a #b        labels joined by a mark that no option names
a;b;    a;#b   a||b  the same with a mark at the end, as Microsoft Forms writes it, or with one of several characters
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semtune.errors import DataError, OptionError
from semtune.tasks.number_forms import numbers_in
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.spreadsheet_labels import comma_numbers

NAMED_SEPARATORS = {
    "tab": "\t", "\\t": "\t", "newline": "\n", "\\n": "\n", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ",
}  # fmt: skip
"""What --label-separator may be in words."""
_BRACKETS = {"{": "}", "[": "]", "(": ")", "<": ">"}
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“"}
_MARKS = (
    ";#", "||", ";;", "::", ";", "|", ",", "/", "\n", "\t", "&", "+", "；", "，", "、", "｜", "／", "•", "·", "¦",
)  # fmt: skip
"""Marks that join labels, where each part is a label or occurs in several; longer ones come first."""
_MARKS_IN_WORDS = ("#", "~", "^")
"""Marks that names hold too (issue #1): they join labels as those above do, but only where no part is a number."""
_MARKS_IN_NAMES = (" ", "-", "_", ".", ":", "@", "$", "=")
"""Marks that names of labels hold too: they join labels only where each part is a label."""
_WORDS_IN_NAMES = ("and", "or", "und", "oder", "et", "ou", "y", "o", "e", "en", "of", "och", "og", "i", "и", "или")
"""Words that do so."""
_ENDS = (";", "|", ",")
"""Marks that some programs write behind every label."""
_DATE = re.compile(r"\d{1,4}/\d{1,2}/\d{1,4}")
_LISTED = re.compile(r"(?:\d{1,2}[.)]|[-*•·–])\s*\S.*")
"""An item of a list, as people type it into a cell."""
_TAG = re.compile(r"(?:#|@|__label__)\S+")
"""A label with a mark that begins labels in running text, and in files of fastText."""
_RUN = re.compile(r"(?<=[\w\s])(?:[^\w\s]{2,}|<\w+ ?/?>|[^\w\s\x00-\x7f]|[<>*!?\\%\"'`])(?=[\w\s])")
"""Several signs between letters, a tag of HTML, or one sign beyond ASCII."""
_RUNS_TRIED = 10
_DIGITS = re.compile(r"[\[({]?\s*[01]\.?(?:[\s,;|]*[01]\.?)+\s*[\])}]?")
"""0 and 1 for each of several labels, perhaps as NumPy prints an array."""
_CHAIN = re.compile(r"(?:<[^<>]+>|\[[^\[\]]+\]|\{[^{}]+\}){2,}")
"""Labels in brackets of their own, one after the other."""
_CALL = re.compile(
    r"(?:c|list|character|vector|factor|array|wrapped ?array|arrayseq|buffer|set|hashset|seq|tuple|series|index)"
    r"\(\s*(?:[\w.]*\s*=?\s*(['\"]).*\1|[^()]*,[^()]*|0|)\s*\)",
    re.IGNORECASE | re.DOTALL,
)
"""A vector or list as R and Scala print it."""
_OF_LABEL = r"[^\s:=,;|][^:=,;|]*[:=]\s*(?:[01](?:\.\d*)?|\.\d+)"
_PROBABILITIES = re.compile(rf"{_OF_LABEL}(?:\s*[,;|\s]\s*{_OF_LABEL})+")
"""A number from 0 to 1 behind each of several names."""
_AS_JSON = 'write the labels as a JSON list (["a", "b"])'


def checked_label_separator(given: str | None) -> str | None:
    """The separator that --label-separator names. Raises OptionError for an empty one."""
    if given == "":
        raise OptionError('--label-separator must not be empty; give one such as ";" or leave it out.')
    return None if given is None else NAMED_SEPARATORS.get(given.lower(), given)


def check_no_indicators(lists: Iterable[tuple[str, Sequence[Any]]]) -> None:
    """Raises DataError where label lists are numbers that say which labels of another list apply.

    Those are of one length above 1 and hold nothing but 0, 1, -1, true and false, or hold fractions between 0 and 1.

    Args:
        lists: (location, items) of all label cells that are lists; empty lists are ignored.
    """
    first: tuple[str, Sequence[Any]] | None = None
    binary = fractions = True
    for where, items in lists:
        if not items:
            continue
        first = first or (where, items)
        numbers = [_number(item) for item in items]
        found = [number for number in numbers if number is not None]
        if len(items) < 2 or len(items) != len(first[1]) or len(found) < len(items):
            return
        binary = binary and all(number in (0, 1, -1) for number in found)
        fractions = fractions and all(0 <= number <= 1 for number in found)
        if not (binary or fractions):
            return
    if first is not None:
        where, items = first
        raise DataError(
            f"{where} has the label {shown(str(list(items)))}, a number for each label of a list that stands "
            "elsewhere; write the names of the labels that apply instead."
        )


def _number(item: Any) -> float | None:
    """The number that an item is or spells; None: it is none."""
    text = str(item).strip().casefold()
    if text in ("true", "false"):
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return None


def split_labels(cell: str, separator: str, where: str, remarks: Remarks) -> list[str]:
    """The parts of a label cell between separators.

    Raises DataError: the separator stands within quotes or brackets that enclose the cell, or behind a backslash.
    """
    parts = cell.split(separator)
    bare = [part.strip() for part in parts]
    cut = _cut_enclosure(bare)
    what = f"{remarks.source}, {where} has the label cell {shown(cell)}, in which the --label-separator"
    if cut is not None:
        raise DataError(
            f"{what} {shown(separator)} stands within {cut}; {_AS_JSON}, or leave the {cut} out and separate them by "
            "something that no label holds."
        )
    if any(part.endswith("\\") for part in parts[:-1]):
        raise DataError(
            f"{what} {shown(separator)} follows a backslash; {_AS_JSON}, or separate them by something that no label "
            "holds."
        )
    if len(parts) > 1 and any(_depth(part) for part in bare) and not _depth(cell):
        remarks.row("labels were cut within brackets", where, example=shown(cell), advice=f"if not meant, {_AS_JSON}")
    if separator.isalnum() and re.search(rf"[^\W_]{re.escape(separator)}|{re.escape(separator)}[^\W_]", cell):
        remarks.row(f"the --label-separator {shown(separator)} was found inside a word", where, example=shown(cell))
    return parts


def _cut_enclosure(parts: Sequence[str]) -> str | None:
    """ "quotes" or "brackets": what a separator has cut apart, or encloses all parts; None: nothing."""
    for opening, closing in _QUOTES.items():
        opened = False
        for part in parts:
            opened = opened or (part.startswith(opening) and (len(part) == 1 or not part.endswith(closing)))
            if opened and part.endswith(closing) and not (part.startswith(opening) and len(part) > 1):
                return "quotes"
    if len(parts) < 2 or not parts[0] or not parts[-1]:
        return None
    bracket, end = parts[0][0], _BRACKETS.get(parts[0][0])
    if end is None or not parts[-1].endswith(end):
        return None
    return "brackets" if end not in parts[0] and bracket not in parts[-1] else None


def _depth(text: str) -> int:
    """How many more round, square and curly brackets `text` opens than it closes."""
    return sum(map(text.count, "([{")) - sum(map(text.count, ")]}"))


def is_quoted(text: str) -> bool:
    """Whether a text begins and ends with quotes that belong together."""
    closing = _QUOTES.get(text[:1])
    return closing is not None and len(text) > 2 and text.endswith(closing)


def notation_notes(labels: Iterable[str], *, listed: bool = False) -> list[str]:
    """Notes on labels that look like several labels in one, or like a label and what a program wrote around it.

    listed: whether label cells are lists, which --label-separator does not cut.
    """
    known = sorted(set(labels))
    notes: list[str] = []
    quoted = [label for label in known if is_quoted(label)]
    if quoted:
        notes.append(
            f"the label {shown(quoted[0])} is in quotes, which were taken as a part of it{_others(quoted)}; remove "
            "them in the file if they are not meant"
        )
    held = [label for label in known if _is_bracketed(label)]
    if held:
        notes.append(
            f"the label {shown(held[0])} is in brackets, like a list of another program, and was taken as one "
            f"label{_others(held)}; if it is a list, {_AS_JSON}"
        )
    called = [label for label in known if _CALL.fullmatch(label)]
    if called:
        notes.append(
            f"the label {shown(called[0])} looks like a vector or list, as R prints it, and was taken as one "
            f"label{_others(called)}; if it is, {_AS_JSON}"
        )
    chained = [label for label in known if _CHAIN.fullmatch(label)]
    if chained:
        notes.append(
            f"the label {shown(chained[0])} looks like several labels, each in brackets{_others(chained)}, and was "
            f"taken as one; if it is, {_AS_JSON}"
        )
    weighed = [label for label in known if _PROBABILITIES.fullmatch(label)]
    if weighed:
        notes.append(
            f"the label {shown(weighed[0])} looks like a probability for each of several labels and was taken as one "
            "label; if it is, write the label that applies instead"
        )
    digits = {re.sub(r"[^01]", "", label) for label in known if _DIGITS.fullmatch(label) and not _is_decimal(label)}
    if known and len(digits) == len(known) and len(set(map(len, digits))) == 1 and any(d[0] == "0" for d in digits):
        notes.append(
            f"the label {shown(known[0])} looks like a number for each label of a list that stands elsewhere; if it "
            "is, write the names of the labels that apply instead"
        )
    joined = joined_labels(label for label in known if label not in called)
    if joined is not None:
        advice = "write them as items of their own" if listed else "name that with --label-separator"
        notes.append(
            f"the label {shown(joined[0])} looks like several labels joined by {shown(joined[1])}; if it is, {advice}"
            f"{', but not if it is a number with a decimal comma' if _may_be_number(*joined) else ''}"
        )
    ended = next((mark for mark in _ENDS if known and all(label.endswith(mark) for label in known)), None)
    if joined is None and ended is not None:
        notes.append(
            f"every label ends with {shown(ended)}, such as {shown(known[0])}, as programs write it that join several "
            f"labels; if they do, {'write them without it' if listed else 'name it with --label-separator'}"
        )
    return notes


def _others(alike: Sequence[str]) -> str:
    """How many labels there are beside the first one, in brackets; "" where there are none."""
    return f" (and {len(alike) - 1} more like it)" if len(alike) > 1 else ""


def _is_decimal(label: str) -> bool:
    """Whether a label is a number with a point: 1.0 is not 1 and 0, joined."""
    return "." in label and _number(label) is not None


def _may_be_number(label: str, mark: str) -> bool:
    return mark == "," and label.count(mark) == 1 and bool(numbers_in(label))


def _is_bracketed(label: str) -> bool:
    closing = _BRACKETS.get(label[:1])
    if closing is None or not label.endswith(closing):
        return False
    return label[0] in "{[" or any(mark in label for mark in ",;|")


def joined_labels(labels: Iterable[str]) -> tuple[str, str] | None:
    """A label that looks like several labels joined, and what joins them; None: there is no such label.

    Each of its parts is a label too, or a part of another joined label, or all parts begin as tags do. A mark at
    either end is no part, and the comma of a decimal number joins nothing.
    """
    known = set(labels)
    if comma_numbers(known):
        return None
    words = tuple(f" {word} " for word in _WORDS_IN_NAMES)
    names = [label for label in sorted(known) if not _is_decimal(label) and not _is_quotient(label, known)]
    listed = next((label for label in names if len(lines := _parts(label, "\n")) > 1 and _are_listed(lines)), None)
    if listed is not None:
        return listed, "\n"
    for mark in (*_MARKS, *_MARKS_IN_WORDS, *words, *_MARKS_IN_NAMES, *_rare_marks(known)):
        joined = {label: parts for label in names if len(parts := _parts(label, mark)) > 1}
        counts = Counter(part for parts in joined.values() for part in set(parts))
        # A label with the mark at an end counts without it: "a;" beside "a;b;".
        bare = known | {label.removesuffix(mark).removeprefix(mark).strip() for label in known if mark in _MARKS}
        rule = _are_labels_or_frequent if mark in (*_MARKS, *_MARKS_IN_WORDS) else _are_labels
        for label, parts in joined.items():
            if all(parts) and rule(parts, bare, counts) and not (mark in _MARKS_IN_WORDS and any(map(_number, parts))):
                return label, mark
    return None


def _rare_marks(labels: Iterable[str]) -> list[str]:
    """Runs of signs inside labels that no list here names, such as "->" and "<br>"; few labels have any."""
    found = Counter(run for label in labels for run in set(_RUN.findall(label)))
    return [run for run, _ in found.most_common(_RUNS_TRIED)]


def _is_quotient(label: str, known: set[str]) -> bool:
    """Whether a label is a date, or points of so many (4/5) rather than two labels that a slash joins."""
    points = re.fullmatch(r"(\d+)/(\d+)", label)
    return bool(_DATE.fullmatch(label)) or (
        points is not None and (points[1] == points[2] or not known.issuperset(points.groups()))
    )


def _are_listed(lines: Sequence[str]) -> bool:
    return all(_LISTED.fullmatch(line) for line in lines)


def _parts(label: str, mark: str) -> list[str]:
    """The parts of `label` between marks, without an empty one at either end."""
    parts = [part.strip() for part in label.split(mark)]
    return parts[not parts[0] : len(parts) - (not parts[-1])] if len(parts) > 1 else parts


def _are_labels(parts: Sequence[str], known: set[str], counts: Mapping[str, int]) -> bool:
    return all(part in known for part in parts) or all(_TAG.fullmatch(part) for part in parts)


def _are_labels_or_frequent(parts: Sequence[str], known: set[str], counts: Mapping[str, int]) -> bool:
    return all(part in known or counts[part] > 1 for part in parts)
