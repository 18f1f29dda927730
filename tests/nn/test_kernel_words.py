"""SEMTUNE_KERNELS switches the compiled loops off, and any word that it does not know is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import OptionError
from semtune.nn import kernels


@pytest.mark.parametrize("word", ["OFFF", "of", "no", "false", "none", "2", "compiled"])
def test_an_unknown_word_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("SEMTUNE_KERNELS", word)
    with pytest.raises(OptionError, match=f"^SEMTUNE_KERNELS={word.lower()} .*; write off .* on"):
        kernels.load_library(tmp_path)


@pytest.mark.parametrize(
    ("word", "state"),
    [("off", "off"), (" OFF ", "off"), ("0", "off"), ("", "missing"), ("on", "missing"), ("1", "missing")],
)
def test_known_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, state: str) -> None:
    monkeypatch.setenv("SEMTUNE_KERNELS", word)
    assert kernels.load_library(tmp_path) == (None, state)
