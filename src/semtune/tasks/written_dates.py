"""Dates in running text and in columns of other programs, of those forms alone that mean one day everywhere.

2022-05-06, 2022/5/6, 06.05.2022 (dots stand between day, month and year in every country), 6 May 2022, May 6th, 2022,
Fri May 06 10:00:00 +0000 2022, and seconds or milliseconds since 1970 as a number. 05/06/2022 is none of them.
Months, quarters, half years and years are periods: May 2022, 05/2022, 2022-05, Q2 2022, 2022/H1, 2021/22, 2022, 2010s.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterator

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_YEAR, _DAY = r"(?P<year>(?:19|20)\d\d)(?!\d)", r"(?<!\d)(?P<day>\d{1,2})"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})(?!\d)",
        rf"{_DAY}\. ?(?P<month>\d{{1,2}})\. ?{_YEAR}",
        rf"{_DAY}(?:st|nd|rd|th|\.)?[ -](?:of )?{_MONTH},?[ -]{_YEAR}",
        rf"\b{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?:[\d:]+ (?:[+-]\d{{4}} |[A-Z]{{3,4}} )?)?{_YEAR}",
    )
)
_PART = r"(?P<part>Q[1-4]|H[12])"
_NO_DATE = r"(?<![\d./-])"
_PERIODS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\b{_MONTH},?(?: of)?[ /-]*{_YEAR}",
        rf"(?<!\d){_YEAR}[ /-]?{_MONTH}",
        rf"\b{_PART}(?: of)?[ /-]*{_YEAR}",
        rf"(?<!\d){_YEAR}[ /-]?{_PART}\b",
        rf"{_NO_DATE}(?P<month>0?[1-9]|1[0-2])[./-]{_YEAR}(?![./-]\d)",
        rf"{_NO_DATE}{_YEAR}[./\u2013-](?P<number>\d\d?)(?![./-]?\d)",
        rf"(?<!\d){_YEAR}(?P<decade>s\b)?",
    )
)
_WITHOUT_YEAR = re.compile(
    rf"\W*(?:{_PART}|(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)? )?{_MONTH}(?: (?P<late>\d{{1,2}})(?:st|nd|rd|th)?)?)\W*",
    re.IGNORECASE,
)
Span = tuple[str, str]
"""A period's first and last day."""
_EPOCH = re.compile(r"(1\d{9})(\d{3})?(?:\.\d+)?")
"""Seconds from 2001 to 2033, milliseconds behind them."""


def written_dates(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, date as 2022-05-06) of each date in `text`; what is in no calendar is none."""
    for form in _FORMS:
        for found in form.finditer(text):
            parts = found.groupdict()
            month = parts.get("month") or MONTHS.index(parts["name"][:3].lower()) + 1
            try:
                date = datetime.date(int(parts["year"]), int(month), int(parts["day"]))
            except ValueError:
                continue
            yield found.start(), found.end(), date.isoformat()


def written_periods(text: str) -> Iterator[tuple[int, int, Span]]:
    """(start, end, first and last day) of each month, quarter, half year and year in `text`, those of dates aside."""
    for start, end, _ in written_dates(text):
        text = text[:start] + "_" * (end - start) + text[end:]
    for form in _PERIODS:
        for found in form.finditer(text):
            start, end = found.span()
            yield start, end, _span(int(found["year"]), {k: v for k, v in found.groupdict().items() if v})
            text = text[:start] + "_" * (end - start) + text[end:]


def period_without_year(text: str, since: str) -> Span | None:
    """The first day, month, quarter or half year of the name `text` that is not over before `since`; None: no name."""
    found = _WITHOUT_YEAR.fullmatch(text)
    if found is None:
        return None
    parts = {k: v for k, v in found.groupdict().items() if v}
    this = int(since[:4])
    return next(span for year in (this, this + 1) if (span := _span(year, parts))[1] >= since or year > this)


def _span(year: int, parts: dict[str, str]) -> Span:
    """The period that the groups of a form name: their month or part, or else the whole year."""
    first, last, until = 1, 12, year
    if "part" in parts:
        months = 3 if parts["part"][0] in "Qq" else 6
        last = int(parts["part"][1]) * months
        first = last - months + 1
    elif "name" in parts:
        first = last = MONTHS.index(parts["name"][:3].lower()) + 1
    elif "month" in parts:
        first = last = int(parts["month"])
    elif "number" in parts:  # a month, or the second year of a season; of both the later, so that nothing is too old
        number = int(parts["number"])
        if number == (year + 1) % 100 or number > max(12, year % 100):
            until = year - year % 100 + number + 100 * (number == 0)
        elif 1 <= number <= 12:
            first = last = number
    elif "decade" in parts:
        until = year + 9
    days = calendar.monthrange(until, last)[1]
    day = int(parts.get("day") or parts.get("late") or 0)
    begin, end = (day, day) if 1 <= day <= days else (1, days)
    return f"{year}-{first:02}-{begin:02}", f"{until}-{last:02}-{end:02}"


def cell_date(text: str) -> str | None:
    """The date that a cell holds, which may go on with a time; None: it has no such form.

    A number of seconds or milliseconds is a day in UTC.
    """
    epoch = _EPOCH.fullmatch(text)
    if epoch is not None:
        return datetime.datetime.fromtimestamp(int(epoch[1]), tz=datetime.UTC).date().isoformat()
    if text.isdigit() and len(text) != len("20220506"):
        return None
    try:
        return datetime.datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        dates = {date for _, _, date in written_dates(text)}
        return dates.pop() if len(dates) == 1 else None
