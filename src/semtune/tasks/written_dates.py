"""Dates in running text and in columns of other programs, of those forms alone that mean one day everywhere.

2022-05-06, 2022/5/6, 06.05.2022 (dots stand between day, month and year in every country), 6 May 2022, May 6th, 2022,
Fri May 06 10:00:00 +0000 2022, and seconds or milliseconds since 1970 as a number. 05/06/2022 is none of them.
"""

from __future__ import annotations

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
