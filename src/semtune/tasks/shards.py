"""Names of files that say they are one of several shards, such as train-00000-of-00002.parquet or train_1_of_2.csv."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from semtune.errors import DataError

_SHARD = re.compile(r"[-_ .]?(?<!\d)(\d+)[-_ ]?of[-_ ]?(\d+)(?:-[0-9a-f]{16})?(?=\.|$)", re.IGNORECASE)
"""Number and count, behind which older exports of the hub write a digest."""


def without_shard(name: str) -> str:
    """A file's name up to its first dot, in lower case, without what says which shard it is."""
    return _SHARD.sub("", name.lower().split(".")[0])


def check_shards(files: Sequence[Path], split_names: Collection[str]) -> tuple[str, ...]:
    """Notes on the files of one split that may be a part of it only.

    Raises DataError where shards are missing: its rows would count as the whole split.
    """
    found = [(file, match) for file in files if (match := _SHARD.search(file.name)) is not None]
    if not found:
        return ()
    file, match = found[0]
    number, count = match.groups()
    if not int(number) <= int(count) > 1:
        return ()
    counted = {int(m[1]) for _, m in found}
    first = 0 if (0 in counted or number.startswith("0")) and int(count) not in counted else 1
    missing = [n for n in range(first, first + int(count)) if n not in counted]
    names = [f"{file.name[: match.start(1)]}{n:0{len(number)}}{file.name[match.end(1) :]}" for n in missing]
    if not names:
        return ()
    shown = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]} ({len(names)} shards)"
    said = (
        f"{file} is one of {int(count)} shards by its name, and without {shown} its rows are a part of the split only"
    )
    if without_shard(file.name) in split_names or (number.startswith("0") and len(number) == len(count)):
        raise DataError(f"{said}; join all of them into one file, or rename it if it is the whole split.")
    return (said,) if len(number) == len(count) else ()
