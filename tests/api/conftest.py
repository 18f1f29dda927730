"""Small data in memory, and a call of `semtune.tune` that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semtune

from ..conftest import REVIEWS

TEXTS = [f"{text}, {number}" for number in range(6) for text, _ in REVIEWS]
MOODS = [mood for _ in range(6) for _, mood in REVIEWS]
SETS = [["warm", "kind"], ["cold"], [], ["cold", "kind"]] * 6
"""Several labels a text, or none."""
QUICK: dict[str, Any] = {"epochs": 1, "rank": 4, "precision": "fp32", "threads": 1, "progress": False}


@pytest.fixture
def tune(tiny_model: Path) -> Callable[..., semtune.Run]:
    """`semtune.tune` on the tiny model: one epoch, one thread, no plan."""

    def call(data: Any = (TEXTS, MOODS), /, **options: Any) -> semtune.Run:
        return semtune.tune(data, **({"model": str(tiny_model), "planned": False, **QUICK} | options))

    return call


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> semtune.Run:
    """A run that has learnt the four repeated texts."""
    options = QUICK | {"epochs": 4, "learning_rate": 0.02}
    out = tmp_path_factory.mktemp("tuned") / "run"
    return semtune.tune((TEXTS, MOODS), model=str(tiny_model), planned=False, out=out, **options)
