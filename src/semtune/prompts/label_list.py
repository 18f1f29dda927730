"""Writing and reading a delimited list of labels, some of which contain the delimiter themselves.

Text and labels are compared field by field, a field being the text between two delimiters without white space at its
ends: "Obfuscation, Intentional vagueness, Confusion" is a label of three fields. Reading covers the fields of a text
with labels so that as few fields as possible are left over; taking the longest label first instead would misread
"A, B, C" where the labels are "A", "A, B" and "B, C".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from semtune.contracts import Parsed
from semtune.errors import OptionError
from semtune.records import TargetSpace, label_target

Fields = tuple[str, ...]


class LabelList:
    """Labels in one fixed order, joined by `separator`; `none` is the text where no label applies.

    Raises OptionError for a label space in which some text could be read in two ways, or with a blank label.
    """

    def __init__(self, space: TargetSpace, separator: str, none: str) -> None:
        self.labels = space.labels
        self.separator = separator
        self.none = none
        self.single = space.kind == "single_label"
        self._kind = space.kind
        self._delimiter = separator.strip() or separator
        self._fields = {label: self._split(label) for label in self.labels}
        self._by_first_field: dict[str, list[str]] = {}
        for label in sorted(self.labels, key=lambda label: len(self._fields[label]), reverse=True):
            self._by_first_field.setdefault(self._fields[label][0], []).append(label)
        self._check()

    def write(self, chosen: Sequence[str]) -> str:
        """`chosen` in the fixed order. Raises ValueError for a label that is not in the label space."""
        unknown = set(chosen) - set(self.labels)
        if unknown:
            raise ValueError(f"not in the label space: {sorted(unknown)}")
        return self.separator.join(label for label in self.labels if label in set(chosen)) or self.none

    def read(self, text: str) -> Parsed:
        """The labels that `text` lists. Unreadable fields are skipped, and `ok` is then False.

        Repeated labels, anything beside `none`, an empty text, and any number but one where one label is due are not ok
        either; what could be read is returned all the same.
        """
        if not text.strip():
            return self._parsed((), ok=False)
        fields = self._split(text)
        if fields == self._split(self.none):
            return self._parsed((), ok=not self.single)
        found = self._cover(fields)
        chosen = tuple(label for label in self.labels if label in found)
        ok = len(chosen) == len(found)  # nothing skipped, nothing twice
        return self._parsed(chosen, ok=ok and (len(chosen) == 1 or not self.single))

    def _parsed(self, labels: Sequence[str], *, ok: bool) -> Parsed:
        return Parsed(label_target(self._kind, labels), ok)

    def _split(self, text: str) -> Fields:
        return tuple(field.strip() for field in text.split(self._delimiter))

    def _cover(self, fields: Fields) -> list[str | None]:
        """Labels that spell `fields` from left to right, None for each field that has to be skipped.

        The fewest fields are skipped; among covers as good, the one whose first label is longest, and so on.
        """
        skipped = [0] * (len(fields) + 1)
        """By field: how many fields from here to the end are skipped."""
        first: list[tuple[str | None, int]] = []
        """By field: the label that begins here and where it ends; filled from the last field to the first."""
        for start in reversed(range(len(fields))):
            options: list[tuple[int, str | None, int]] = []
            for label in self._by_first_field.get(fields[start], ()):
                end = start + len(self._fields[label])
                if fields[start:end] == self._fields[label]:
                    options.append((skipped[end], label, end))
            options.append((skipped[start + 1] + 1, None, start + 1))
            skipped[start], best, end = min(options, key=lambda option: option[0])
            first.append((best, end))
        first.reverse()
        found: list[str | None] = []
        start = 0
        while start < len(fields):
            label_or_none, start = first[start]
            found.append(label_or_none)
        return found

    def _check(self) -> None:
        """Raises OptionError unless every list of labels can be read in one way only."""
        for label in self.labels:
            if not label.strip():
                raise OptionError("One of the labels is blank; give every label a name.")
        named: dict[Fields, str] = {}
        for label in self.labels:
            other = named.setdefault(self._fields[label], label)
            if other != label:
                raise OptionError(f'The labels "{other}" and "{label}" read the same; rename one of them.')
        if self.single:
            return  # one label is a whole answer, and the longest label is read first
        ambiguous = self._ambiguous()
        if ambiguous is not None:
            raise OptionError(
                f'A list of labels that begins with "{ambiguous}" can be read in two ways, as it holds '
                f'"{self._delimiter}"; rename it, or use a prompt with another delimiter.'
            )

    def _ambiguous(self) -> str | None:
        """A label with which two different lists of labels that spell the same fields can begin, if there are any.

        The test of Sardinas & Patterson (1953) for unique decodability: of two lists that spell the same fields so far,
        one is ahead by some fields; all such remainders are followed until the two lists meet.
        """
        codes = [self._fields[label] for label in self.labels]
        todo: list[tuple[Fields, str]] = []
        for longer, shorter in permutations(self.labels, 2):
            ahead = _remainder(self._fields[longer], self._fields[shorter])
            if ahead:
                todo.append((ahead, longer))
        known = {ahead for ahead, _ in todo}
        while todo:
            ahead, label = todo.pop()
            for code in codes:
                for remainder in (_remainder(ahead, code), _remainder(code, ahead)):
                    if remainder == ():
                        return label
                    if remainder is not None and remainder not in known:
                        known.add(remainder)
                        todo.append((remainder, label))
        return None


def _remainder(fields: Fields, beginning: Fields) -> Fields | None:
    """`fields` after `beginning`; None where they begin otherwise."""
    return fields[len(beginning) :] if fields[: len(beginning)] == beginning else None
