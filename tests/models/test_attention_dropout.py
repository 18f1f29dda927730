"""A config's attention dropout: applied while training, with the share and the expectation that it names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config, SmolLM3Config

from semtune.models.architectures import install
from semtune.models.loaded import TransformersModel
from semtune.nn.attention import packed_attention
from semtune.nn.packed_batch import PackedBatch

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
CONFIGS = {
    "fused": (LlamaConfig, SIZES | {"attention_dropout": 0.5}),
    "fused, normed heads": (Qwen3Config, SIZES | {"attention_dropout": 0.5}),
    "stock": (SmolLM3Config, SIZES | {"attention_dropout": 0.5}),
    "learned positions": (
        GPT2Config,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "attn_pdrop": 0.5, "embd_pdrop": 0.0,
         "resid_pdrop": 0.0, "initializer_range": 0.3},
    ),
}  # fmt: skip
TEXTS = [list(range(3, 14)), list(range(5, 12))]


def loaded_of(name: str, **changes: Any) -> TransformersModel:
    kind, fields = CONFIGS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**fields | changes)).eval()
    install(model)
    return TransformersModel(model, None, "toy", torch.float32, torch.device("cpu"), 32)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_applied_while_training_and_only_then(name: str) -> None:
    loaded = loaded_of(name)

    def states() -> torch.Tensor:
        return loaded.hidden_states(*loaded.pack(TEXTS))

    assert torch.equal(states(), states())
    whole = states()
    loaded.model.train()
    torch.manual_seed(1)
    first = states()
    torch.manual_seed(1)
    assert torch.equal(states(), first), "the same seed drops the same weights"
    assert not torch.allclose(first, whole)
    assert not torch.allclose(states(), first)
    first.sum().backward()


def test_dropped_weights_have_the_right_share_and_expectation() -> None:
    """One head over keys with equal scores: an output is the mean of the kept values, over 1 - p."""
    torch.manual_seed(0)
    tokens, p = 400, 0.25
    q = torch.zeros(tokens, 1, 4)
    v = torch.ones(tokens, 1, 4)
    for window in (None, 300):
        batch = PackedBatch((tokens,))
        out = packed_attention(q, q, v, batch, layer=0, scale=1.0, window=window, dropout=p)[-100:, 0, 0]
        assert out.mean() == pytest.approx(1.0, abs=0.02)
        spread = (p / (1 - p) / (350 if window is None else window)) ** 0.5
        assert out.std() == pytest.approx(spread, rel=0.35)
