"""Python calls with paths that no file or folder can have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semtune
from semtune.errors import PathError

TABLE = "text,label\n" + "the soup is warm,good\n" * 200


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: semtune.tune(TABLE), "name is too long .*; give a path, not what a file holds"),
        (lambda: semtune.plan(TABLE), "name is too long"),
        (lambda: semtune.study(TABLE, methods=["lora"]), "name is too long"),
        (lambda: semtune.tune("x\0y"), "null character"),
        (lambda: semtune.tune("practice", out="x\0y"), r'"x\\x00y" cannot be a file or folder'),
        (lambda: semtune.tune((["a", "b"], ["x", "y"]), out="x" * 300), "name is too long"),
        (lambda: semtune.tune("practice", out="l\udce9", approach="baseline", baseline="top-1"), "not UTF-8"),
        (lambda: semtune.tune("practice", model="x\0y"), "null character"),
        (lambda: semtune.study("practice", out="x" * 300), "name is too long"),
        (lambda: semtune.load("x" * 300), "name is too long"),
        (lambda: semtune.load("x\0y"), "null character"),
        (lambda: semtune.load(None), "A path is needed, but this is of the kind NoneType"),  # type: ignore[arg-type]
        (lambda: semtune.tune("practice", out=b"runs"), "of the kind bytes"),  # type: ignore[arg-type]
        (lambda: semtune.load(Path("runs") / ("x" * 300)), "name is too long"),
    ],
)
def test_one_sentence(call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathError, match=message):
        call()
    assert not list(tmp_path.iterdir())
