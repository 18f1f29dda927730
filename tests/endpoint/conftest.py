"""A server, and the cache folder of each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Protocol, serving


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder; there is no key in the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEMTUNE_CACHE", str(folder))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return folder


@pytest.fixture
def server() -> Iterator[Protocol]:
    """A server that answers by keyword."""
    pytest.importorskip("openai")
    with serving(Protocol()) as protocol:
        yield protocol
