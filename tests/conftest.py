"""Fixtures of all tests. No test may reach for the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Set before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def semeval_data() -> Path:
    """The folder that holds the SemEval-2021 Task 6 files, as `--data-dir` takes it."""
    given = os.environ.get("SEMTUNE_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no SemEval-2021 Task 6 data: {folder} is no folder (set SEMTUNE_DATA to where the files are)")
    return folder
