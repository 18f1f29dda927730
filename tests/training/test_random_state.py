"""All generators go on from a saved state as if nothing had been drawn in between."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from semtune.training.random_state import RandomState


def draws() -> list[float]:
    """From every generator; Gauss values come in pairs, of which the second is stored."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))]


def test_generators_go_on_where_they_were() -> None:
    draws()  # leaves one Gauss value stored in Python's and NumPy's generator
    file = io.BytesIO()
    torch.save(RandomState().state_dict(), file)
    expected = [draws() for _ in range(3)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    file.seek(0)
    RandomState().load_state_dict(torch.load(file, weights_only=True))
    assert [draws() for _ in range(3)] == expected
