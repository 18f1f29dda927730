"""Where the cache is, and what is said where there is no home."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import OutputError, first_line
from semtune.runtime.cache import cache_folder


def test_the_variable_wins_and_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEMTUNE_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.setenv("SEMTUNE_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    for unset in ("", None):
        monkeypatch.setenv("SEMTUNE_CACHE", unset) if unset is not None else monkeypatch.delenv("SEMTUNE_CACHE")
        assert cache_folder() == tmp_path / ".cache" / "semtune"


def test_no_home_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("SEMTUNE_CACHE", raising=False)
    with pytest.raises(OutputError, match="set SEMTUNE_CACHE to"):
        cache_folder()
    monkeypatch.undo()
    monkeypatch.setenv("SEMTUNE_CACHE", "~no-such-user-here/cache")
    with pytest.raises(OutputError, match="~no-such-user-here/cache"):
        cache_folder()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("\n  padded\n"), "padded"),
        (ValueError(), "ValueError"),
        ("text\nmore", "text"),
    ],
)
def test_the_first_line_of_an_error(error: object, said: str) -> None:
    assert first_line(error) == said
