"""Fixtures of generation's tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on a busy machine cost a hundred times what these sizes do."""
    torch.set_num_threads(1)
