"""Dates of those forms that mean one day everywhere, in texts and in cells."""

from __future__ import annotations

import pytest

from semtune.tasks.written_dates import cell_date, period_without_year, written_dates, written_periods

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


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("June 2023", "2023-06-01", "2023-06-30"), ("jun-2023", "2023-06-01", "2023-06-30"),
        ("2023 June", "2023-06-01", "2023-06-30"), ("06.2023", "2023-06-01", "2023-06-30"),
        ("12/2023", "2023-12-01", "2023-12-31"), ("2024-02", "2024-02-01", "2024-02-29"),
        ("Q3/2024", "2024-07-01", "2024-09-30"), ("2024 Q3", "2024-07-01", "2024-09-30"),
        ("H1 2024", "2024-01-01", "2024-06-30"), ("in 2022", "2022-01-01", "2022-12-31"),
        ("2021/22", "2021-01-01", "2022-12-31"), ("2011-12", "2011-01-01", "2012-12-31"),
        ("1999/00", "1999-01-01", "2000-12-31"), ("the 2010s", "2010-01-01", "2019-12-31"),
        ("05/06/2023", "2023-01-01", "2023-12-31"),
    ],
)  # fmt: skip
def test_periods_have_a_first_and_a_last_day(text: str, first: str, last: str) -> None:
    assert [span for _, _, span in written_periods(text)] == [(first, last)]


def test_dates_and_other_numbers_are_no_periods() -> None:
    assert not [*written_periods("2022-05-06, 6 May 2022 and 12000 of 20221 in May")]


@pytest.mark.parametrize(
    ("text", "since", "last"),
    [
        ("August", "2021-01-05", "2021-08-31"), ("**3 Aug**", "2021-11-05", "2022-08-03"),
        ("Q3:", "2021-01-05", "2021-09-30"), ("January", "2021-01-31", "2021-01-31"),
    ],
)  # fmt: skip
def test_a_period_without_a_year_is_the_next_one(text: str, since: str, last: str) -> None:
    found = period_without_year(text, since)
    assert found is not None and found[1] == last
    assert period_without_year(f"in {text} so", since) is None
