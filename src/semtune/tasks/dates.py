"""Dates in users' files: one form, compared as text."""

from __future__ import annotations

import datetime
import re
from typing import Any

from semtune.errors import DataError


def plain_date(value: Any, where: str) -> str | None:
    """A date, or the date of a time, as 2021-03-05; None for an empty cell. Raises DataError for another form.

    `where` names the cell's place in messages.
    """
    if value is None or not str(value).strip():
        return None
    written = str(value).strip()
    try:
        if re.fullmatch(r"\d{9,}", written):  # milliseconds since 1970 would be read as a day of 1612 and a time
            raise ValueError("a number")
        return datetime.datetime.fromisoformat(written).date().isoformat()
    except ValueError as error:
        raise DataError(
            f'{where} has the date "{written[:40]}", which is not of the form 2021-03-05; write it so, or empty it.'
        ) from error
