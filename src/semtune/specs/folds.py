"""The fold of a cross-validation as a run's option writes it: "1/3", the first of three."""

from __future__ import annotations

import re

from semtune.errors import OptionError
from semtune.records import RunSpec

LEAST, MOST = 2, 100
"""Number of folds."""


def fold_numbers(fold: str) -> tuple[int, int]:
    """The fold's number, from 1, and the number of folds. Raises OptionError."""
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})", fold.strip())
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count or not LEAST <= count <= MOST:
        raise OptionError(
            f"--fold must be the number of a fold and how many there are, such as 1/3 for the first of three ({LEAST} "
            f'to {MOST}), not "{fold}".'
        )
    return number, count


def check_fold(spec: RunSpec) -> None:
    """Raises OptionError for a fold that is none."""
    if spec.fold is not None:
        fold_numbers(spec.fold)
