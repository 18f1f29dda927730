"""Numbers of JSON files that remember how they are written, because a label is what a file says."""

from __future__ import annotations


class WrittenFloat(float):
    """A number with a fraction or an exponent; `written` is its text in the file, such as "1.10"."""

    written: str

    def __new__(cls, written: str) -> WrittenFloat:
        number = super().__new__(cls, written)
        number.written = written
        return number
