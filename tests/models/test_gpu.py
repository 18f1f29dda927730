"""Architectures on a GPU: packed, cached and tree forwards against stock transformers on the same GPU."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

from semtune.models.self_check import mismatch

from .test_architectures import MUST_BE_RIGHT, REALISTIC

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def products_in_full_precision() -> None:
    """cuDNN's convolutions round to TF32 by default, transformers' too, but elsewhere: nothing could be compared."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("model_type", [*MUST_BE_RIGHT, "mamba", "mamba2", "falcon_h1"])
def test_right_on_a_gpu(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, **REALISTIC.get(model_type, {}))
    on_cpu = mismatch(config)
    if on_cpu is not None:
        pytest.skip(f"not right on the CPU either: it {on_cpu}")
    assert mismatch(config, device="cuda") is None
