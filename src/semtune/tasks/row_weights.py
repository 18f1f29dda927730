"""Columns that say how often a row counts, which are not read: each row counts once.

Such a column is known by its name (count, freq, sample_weight) and by its cells, which are positive numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from semtune.tasks.characters import is_blank, visible
from semtune.tasks.number_forms import numbers_in

_WEIGHTS = frozenset(
    word
    for words in (
        "count counts freq freqs frequency frequencies weight weights n occurrences multiplicity",
        "anzahl häufigkeit gewicht gewichtung effectif fréquence poids frecuencia peso veces frequência contagem",
        "frequenza conteggio liczba waga frekans ağırlık частота количество вес",
        "权重 频次 次数 重み 頻度 件数 빈도 가중치",
    )
    for word in words.split()
)
_ROWS = frozenset(
    {"sample", "samples", "row", "rows", "case", "example", "instance", "observation", "obs", "survey", "text"}
    | {"final", "respondent", "frequency", "duplicate", "duplicates", "num", "number", "of", "n", "total"}
)
"""Words in front of them; others count something else, as word_count and like_count do."""


def weight_notes(source: str, columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Notes on columns that seem to say how often a row counts.

    Args:
        columns: cells by name of column, without the columns that the user names.
    """
    notes = []
    for name, cells in columns.items():
        numbers = _numbers(cells) if _names_weights(name) else []
        # Numbers from 1 up, each once, are those of the rows.
        if not numbers or set(numbers) == {1} or sorted(numbers) in (_first(len(numbers), 0), _first(len(numbers), 1)):
            continue
        low, high = (f"{number:g}" for number in (min(numbers), max(numbers)))
        notes.append(
            f'{source}: column "{name}" (from {low} to {high}) is not read: each row counts once; if it says how '
            "often or how much a row counts, repeat rows of the file in that proportion"
        )
    return notes


def _first(size: int, start: int) -> list[float]:
    return [float(number) for number in range(start, start + size)]


def _names_weights(name: str) -> bool:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", visible(name)).casefold()
    words = [word for word in re.split(r"[\W_]+", apart) if word]
    return bool(words) and words[-1] in _WEIGHTS and _ROWS.issuperset(words[:-1])


def _numbers(cells: Sequence[Any]) -> list[float]:
    """The numbers in all cells that are filled; [] where one holds anything else, or a number that is not positive."""
    numbers = []
    for cell in cells:
        if cell is None or is_blank(str(cell)):
            continue
        found = numbers_in(str(cell)) if not isinstance(cell, bool) else set()
        if not found or min(found) <= 0:
            return []
        numbers.append(float(min(found)))
    return numbers
