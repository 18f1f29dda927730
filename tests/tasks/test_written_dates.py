"""Dates of those forms that mean one day everywhere, in texts and in cells."""

from __future__ import annotations

import pytest

from semtune.tasks.written_dates import cell_date, written_dates

MAY = "2022-05-06"


@pytest.mark.parametrize(
    "text",
    [
        "2022-05-06", "2022/5/6", "2022.05.06", "06.05.2022", "6. 5. 2022", "6 May 2022", "6th of May, 2022",
        "6-May-2022", "May 6, 2022", "MAY 6th 2022", "6. may 2022", "Fri May 06 10:00:00 +0000 2022", "Fri May 6 2022",
        "Fri, 06 May 2022 10:00:00 GMT", "2022-05-06 10:00:00.123456789", "2022-05-06T23:30:00-08:00",
        "20220506", "1651838400", "1651838400000", "1651838400.0",
    ],
)  # fmt: skip
def test_a_cell_has_a_date_of_a_form_that_means_one_day(text: str) -> None:
    assert cell_date(text) == MAY


@pytest.mark.parametrize(
    "text",
    ["05/06/2022", "10:30", "Monday", "May 2022", "2022", "44256", "2022-13-45", "31 June 2022", "6 Mayor 2022", "",
     "from 2022-05-01 to 2022-05-06", "16121012000", "6.5.202", "12022-05-06"],
)  # fmt: skip
def test_what_may_be_another_day_or_none_is_no_date(text: str) -> None:
    assert cell_date(text) is None


def test_all_dates_of_a_text_are_found_with_their_places() -> None:
    text = "News of 2022-05-06, and of 7 May 2022"
    assert [(text[a:b], date) for a, b, date in sorted(written_dates(text))] == [
        ("2022-05-06", MAY), ("7 May 2022", "2022-05-07"),
    ]  # fmt: skip
