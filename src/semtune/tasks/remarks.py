"""What reading changed or left out, counted: so that nothing happens to a user's data without a word."""

from __future__ import annotations

NAME_CHARACTERS = 60
"""A cell is shown in messages up to this length."""


class Remarks:
    """Counts the rows of one table that each remark applies to, and remembers the first of them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._count: dict[str, int] = {}
        self._first: dict[str, str] = {}
        self._advice: dict[str, str] = {}
        self._general: list[str] = []

    def general(self, remark: str) -> None:
        """A remark on the whole table."""
        self._general.append(remark)

    def row(self, remark: str, where: str, count: int = 1, *, example: str = "", advice: str = "") -> None:
        """A remark on `count` rows, such as "a separator at the end was left out".

        Args:
            where: names the first of the rows.
            example: what that row has.
            advice: what the user can do.
        """
        self._count[remark] = self._count.get(remark, 0) + count
        self._first.setdefault(remark, f"{where}, {example}" if example else where)
        self._advice[remark] = f"; {advice}" if advice else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """All remarks as notes, each with its source; those on rows with their number and the first row."""
        rows = [
            (
                f"{remark} in {self._first[remark]}"
                if count == 1
                else f"{remark} in {count:,} rows (first: {self._first[remark]})"
            )
            + self._advice[remark]
            for remark, count in self._count.items()
        ]
        return tuple(f"{self.source}: {remark}" for remark in [*self._general, *rows])


def shown(text: str) -> str:
    """`text` in quotes for a message: on one line, invisible characters escaped, long texts shortened.

    >>> shown("a\\nb")
    '"a\\\\nb"'
    """
    short = text if len(text) <= NAME_CHARACTERS else text[: NAME_CHARACTERS - 1] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in short) + '"'
