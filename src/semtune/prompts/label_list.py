"""Writing and reading a delimited list of labels, some of which hold the delimiter themselves.

Text and labels are compared field by field, a field being what stands between two delimiters, white space at its ends
aside: "Obfuscation, Intentional vagueness, Confusion" is a label of three fields. Reading covers the fields of a text
with labels so that as few fields as possible are left over; taking the longest label first instead would misread
"A, B, C" where the labels are "A", "A, B" and "B, C".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from semtune.contracts import Parsed
from semtune.errors import OptionError

Fields = tuple[str, ...]


class LabelList:
    """Labels in one fixed order, joined by `separator`; `none` says explicitly that no label applies.

    Raises OptionError for a label space in which some text could be read in two ways, or with a blank label.
    """

    def __init__(self, labels: Sequence[str], separator: str, none: str, *, single: bool) -> None:
        self.labels = tuple(labels)
        self.separator = separator
        self.none = none
        self.single = single
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
        """What `text` says. Unreadable fields are skipped, and `ok` is then False.

        Repeated labels, anything beside `none`, an empty text, and any number but one where one label is due are not ok
        either; what could be read is returned all the same.
        """
        if not text.strip():
            return Parsed((), ok=False)
        fields = self._split(text)
        if fields == self._split(self.none):
            return Parsed((), ok=not self.single)
        said = self._cover(fields)
        chosen = tuple(label for label in self.labels if label in said)
        ok = len(chosen) == len(said)  # nothing skipped, nothing twice
        return Parsed(chosen, ok=ok and (len(chosen) == 1 or not self.single))

    def _split(self, text: str) -> Fields:
        return tuple(field.strip() for field in text.split(self._delimiter))

    def _cover(self, fields: Fields) -> list[str | None]:
        """Labels that spell `fields` from left to right, None for each field that has to be skipped.

        The fewest fields are skipped; among covers as good, the one whose first label is longest, and so on.
        """
        skipped = [0] * (len(fields) + 1)
        """From each field on, how many are skipped."""
        first: list[tuple[str | None, int]] = []
        """From each field on, what comes first and where it ends; filled from the last field to the first."""
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
        said: list[str | None] = []
        start = 0
        while start < len(fields):
            label_or_none, start = first[start]
            said.append(label_or_none)
        return said

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

        The test of Sardinas & Patterson (1953): what one list is ahead of the other by is followed until they meet.
        """
        codes = [self._fields[label] for label in self.labels]
        todo: list[tuple[Fields, str]] = []
        for longer, shorter in permutations(self.labels, 2):
            ahead = _rest(self._fields[longer], self._fields[shorter])
            if ahead:
                todo.append((ahead, longer))
        seen = {ahead for ahead, _ in todo}
        while todo:
            ahead, label = todo.pop()
            for code in codes:
                for rest in (_rest(ahead, code), _rest(code, ahead)):
                    if rest == ():
                        return label
                    if rest is not None and rest not in seen:
                        seen.add(rest)
                        todo.append((rest, label))
        return None


def _rest(fields: Fields, beginning: Fields) -> Fields | None:
    """`fields` after `beginning`; None where they begin otherwise."""
    return fields[len(beginning) :] if fields[: len(beginning)] == beginning else None
