"""The bound by which small runs go unplanned is a bound, or none is given."""

from __future__ import annotations

import pytest
import torch

from semtune.models.fake_model import most_parameters
from semtune.models.meta_model import build_meta_model

from .tiny_types import tiny_config

SHAPES = [{}, {"head_dim": 64}, {"num_key_value_heads": 4, "attention_bias": True}, {"intermediate_size": 500}]


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("changes", SHAPES)
def test_it_is_at_least_the_number_of_parameters(model_type: str, changes: dict[str, object]) -> None:
    config = tiny_config(model_type, tie_word_embeddings=False, **changes)
    bound = most_parameters(config)
    exact = sum(p.numel() for p in build_meta_model(config, torch.float32).parameters())
    assert bound is not None and exact <= bound <= 1.2 * exact


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe", "olmoe", "gpt2", "gemma3_text", "deepseek_v3"])
def test_other_types_have_none(model_type: str) -> None:
    assert most_parameters(tiny_config(model_type)) is None
