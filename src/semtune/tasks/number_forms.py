"""What number a text may be, in the forms in which programs and countries write one: 2.50, 2,5, 1,000, 1.000,5."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_GROUPED = re.compile(
    r"(?P<whole>[-+]?\d{1,3}(?:(?P<mark>[,. '’\u00a0\u202f])\d{3})(?:(?P=mark)\d{3})*)(?:[.,](?P<part>\d+))?"
)
"""A number whose thousands are set apart."""
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


def numbers_in(text: str) -> set[Decimal]:
    """The numbers that `text` may be, exactly; several where a mark may set thousands or a fraction apart.

    >>> sorted(numbers_in("1,000"))
    [Decimal('1.000'), Decimal('1000')]
    """
    written = text.strip().replace("\u2212", "-")
    forms = [written]
    if _DECIMAL_COMMA.fullmatch(written):
        forms.append(written.replace(",", "."))
    match = _GROUPED.fullmatch(written)
    if match is not None and match["mark"] not in written[match.end("whole") :]:
        forms.append(f"{match['whole'].replace(match['mark'], '')}.{match['part'] or '0'}".removesuffix(".0"))
    found: set[Decimal] = set()
    for form in forms:
        try:
            number = Decimal(form)
        except InvalidOperation:
            continue
        if number.is_finite():
            found.add(number)
    return found
