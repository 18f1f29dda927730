"""Rotary embeddings in fp64: transformers computes their angles in fp32 even for an fp64 model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


def _forward(self: LlamaRotaryEmbedding, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    width = self.config.head_dim
    frequencies = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = position_ids[..., None].double() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


@contextmanager
def exact_rotary() -> Iterator[None]:
    """Llama's angles to fp64's precision, so that rotations compose to 1e-15."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LlamaRotaryEmbedding, "forward", _forward)
        yield
