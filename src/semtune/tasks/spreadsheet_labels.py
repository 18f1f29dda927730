"""Labels that a spreadsheet made of others: dates of ranges (1-5 becomes 05-Jan), and numbers with a comma.

Excel and LibreOffice take 1-5, 10-17 and 3/4 for days, and write them as their language writes dates: 05-Jan, 01. Mai,
Jan-05, 2024-05-01 00:00:00. A file keeps nothing of what was typed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from semtune.tasks.number_forms import numbers_in
from semtune.tasks.remarks import shown

_MONTHS = "|".join(
    sorted(
        {
            month
            for months in (
                "jan feb mar apr may jun jul aug sep sept oct nov dec",
                "mrz mär märz mai juni juli okt dez jän",
                "janv févr fév mars avr juin juil août déc",
                "ene abr ago dic gen mag giu lug ott fev abr mrt mei maj",
                "sty lut kwi maj cze lip sie wrz paź lis gru oca şub nis haz tem ağu eyl eki kas",
                "янв фев мар апр май июн июл авг сен окт ноя дек",
            )
            for month in months.split()
        },
        key=len,
        reverse=True,
    )
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DAY_AND_MONTH = re.compile(
    rf"{_DAY}(?:[-/]|\. ?)(?:{_MONTHS})\.?|(?:0[1-9]|[12]\d|3[01])[-/](?:set|out)\.?|\d\d?月\d\d?日", re.IGNORECASE
)
"""Without a year, and no months that may be other words: "set" and "out" only behind two digits (5-set)."""
_MONTH_AND_YEAR = re.compile(r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[- ]\d\d", re.IGNORECASE)
_WHOLE_DATE = re.compile(
    rf"(?:(?:19|20)\d\d[-/]\d\d?[-/]{_DAY}|\d\d?([./-])\d\d?\1(?:(?:19|20)\d\d|\d\d)"
    rf"|{_DAY}[- ](?:{_MONTHS})[- ](?:19|20)?\d\d)(?:[ T]\d\d?:\d\d(?::\d\d(?:\.0+)?)?)?",
    re.IGNORECASE,
)
_YEAR = r"(?:19|20)\d\d"
_RANGE = re.compile(
    rf"(?!{_YEAR}(?!\d))(?:[<>≤≥]=?\s*\d+|\d+\s*\+|\d{{1,4}}\s*(?:[-–—/]|to|bis|à|a)\s*\d{{1,4}}|\d{{1,4}})"
)
"""A range such as 18-25 and 36+, a fraction, or a whole number; a year and a range of years stand beside dates too."""
_UNITS = "%‰€$£ "
_SHOWN = 3


def date_labels(labels: Iterable[str]) -> list[str]:
    """The labels that look like dates which a spreadsheet made of something else.

    Days of a month without a year do so everywhere, other dates beside ranges and numbers.

    >>> date_labels(["05-Jan", "18-25", "36+"]), date_labels(["2024-05-01", "2024-05-02"])
    (['05-Jan'], [])
    """
    known = sorted(set(labels))
    days = [label for label in known if _DAY_AND_MONTH.fullmatch(label)]
    dates = [
        label for label in known if label in days or _MONTH_AND_YEAR.fullmatch(label) or _WHOLE_DATE.fullmatch(label)
    ]
    return dates if days or any(_RANGE.fullmatch(label) for label in known if label not in dates) else []


def comma_numbers(labels: Iterable[str]) -> list[str]:
    """The labels that are numbers with a comma, where all labels are numbers and not several numbers joined.

    A part behind a comma that begins with 0 is a fraction or thousands: the numbers of classes do not.

    >>> comma_numbers(["1,0", "1,5", "2,0"]), comma_numbers(["1,2", "1,3"])
    (['1,0', '1,5', '2,0'], [])
    """
    known = sorted(set(labels))
    values = [numbers_in(label.rstrip(_UNITS)) for label in known]
    if not all(values) or not any(",0" in label for label in known):
        return []
    # Nobody writes one number in two ways: beside 1, a label 1,0 is the classes 1 and 0.
    once = max(Counter(number for found in values for number in found).values()) == 1
    return [label for label in known if "," in label] if once else []


def spreadsheet_notes(labels: Iterable[str]) -> list[str]:
    """Notes on labels that a spreadsheet may have made of others."""
    known = sorted(set(labels))
    notes = []
    dates = date_labels(known)
    if dates:
        notes.append(
            f"{_named(dates)} like {'a date' if len(dates) == 1 else 'dates'} that a spreadsheet made of a range or a "
            "number (1-5 becomes 05-Jan); if so, write what was meant, in a column that the spreadsheet takes as text"
        )
    numbers = comma_numbers(known)
    if numbers:
        notes.append(
            f"{_named(numbers)} like {'a number' if len(numbers) == 1 else 'numbers'} with a decimal comma (a rating "
            "scale?): each is read as a class of its own, which knows nothing of larger and smaller"
        )
    return notes


def _named(labels: list[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    names = ", ".join(map(shown, labels[:_SHOWN]))
    return f"the label {names} looks" if len(labels) == 1 else f"the labels {names}{more} look"
