"""Several texts of exactly a usual limit's length are noted as cut; long texts of other lengths are not."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from semtune.tasks.cut_texts import cut_notes

from .tables import HEADER, joined, notes, save


def texts(longest: int, count: int, *, end: str = "") -> list[str]:
    draw = random.Random(0)
    made = ["".join(draw.choices(string.ascii_lowercase + " ", k=draw.randint(20, longest + 60))) for _ in range(count)]
    return [text[: longest - len(end)] + end if len(text) > longest else text for text in made]


@pytest.mark.parametrize("limit", [140, 255, 1024])
def test_texts_that_end_at_a_limit_are_noted(tmp_path: Path, limit: int) -> None:
    held = ["x" + text.replace(" ", "y") for text in texts(limit - 1, 400)]
    rows = [(text, "ab"[i % 2]) for i, text in enumerate(held)]
    assert f"texts have exactly {limit:,} characters, and none has more" in notes(
        save(tmp_path / "t.csv", joined([HEADER, *rows], ","))
    )


def test_others_are_not() -> None:
    assert cut_notes(texts(255, 400)) != ()
    assert cut_notes(texts(253, 400)) == ()
    assert cut_notes(texts(255, 400, end=".")) == ()
    assert cut_notes([*texts(255, 400), "x" * 256]) == ()
    assert cut_notes(["x" * n for n in range(150, 256) for _ in range(3)]) == ()
    assert cut_notes(["x" * 255] * 2) == ()
    assert cut_notes([]) == ()
