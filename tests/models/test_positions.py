"""How long texts may be: learned positions run out, rotary ones are extrapolated, and some depend on the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig

from semtune.errors import OptionError
from semtune.models.architectures import install
from semtune.models.loaded import TransformersModel
from semtune.models.positions import check_positions

DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}


def test_learned_positions_are_checked_with_one_sentence() -> None:
    config = GPT2Config(n_positions=128)
    assert check_positions(config, 100, new_tokens=28) is None
    with pytest.raises(
        OptionError,
        match=r"has 128 learned positions.*100 and 29 generated .* give --max-length 99",
    ):
        check_positions(config, 100, new_tokens=29)
    with pytest.raises(OptionError, match="64 learned positions"):
        check_positions(OPTConfig(max_position_embeddings=64), 65)


def test_beyond_a_rotary_models_length_a_note_says_so() -> None:
    config = LlamaConfig(max_position_embeddings=256)
    assert check_positions(config, 256) is None
    assert "257 tokens exceed the 256" in (check_positions(config, 257) or "")


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(max_position_embeddings=64, rope_parameters=DYNAMIC),
        AutoConfig.for_model("phi3", max_position_embeddings=128, original_max_position_embeddings=64, rope_parameters={
            "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 48, "long_factor": [2.0] * 48,
            "original_max_position_embeddings": 64,
        }),
    ],
    ids=["dynamic", "longrope"],
)  # fmt: skip
def test_scaling_that_depends_on_the_longest_text_of_a_batch_is_refused(config: LlamaConfig) -> None:
    assert check_positions(config, 64) is None
    with pytest.raises(OptionError, match=r"depends on the longest text of a batch.*give --max-length 56 or less"):
        check_positions(config, 60, new_tokens=8)


def test_sparse_attention_is_refused_where_it_begins() -> None:
    config = AutoConfig.for_model("doge")
    assert check_positions(config, 2048) is None
    with pytest.raises(OptionError, match="keep_window_size"):
        check_positions(config, 2049)


def loaded_gpt2() -> TransformersModel:
    torch.manual_seed(0)
    config = GPT2Config(n_positions=16, n_embd=32, n_layer=2, n_head=4, vocab_size=40, bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    install(model)
    return TransformersModel(model, None, "toy", torch.float32, torch.device("cpu"), 32)


def test_a_text_beyond_the_last_position_is_a_sentence_and_not_an_index_error() -> None:
    """Whoever packs it: prompts and decoding too."""
    loaded = loaded_gpt2()
    loaded.hidden_states(*loaded.pack([[3] * 16]))
    with pytest.raises(OptionError, match=r"16 learned positions.*17 tokens"):
        loaded.pack([[3] * 17, [4]])
    cache = loaded.new_cache(1)
    loaded.hidden_states(*loaded.pack([[3] * 15], cache))
    with pytest.raises(OptionError, match=r"16 learned positions.*17 tokens"):
        loaded.pack([[3, 4]], cache)
    with pytest.raises(OptionError, match=r"16 learned positions.*17 tokens"):
        loaded.pack_tree([[3] * 14], [[5, 6, 7], [5]])


def test_a_text_gets_the_same_alone_and_beside_a_long_one() -> None:
    """Under dynamic scaling a long neighbour would change it: such a batch is refused."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=40,
        max_position_embeddings=8, rope_parameters=DYNAMIC, initializer_range=0.3,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    install(model)
    loaded = TransformersModel(copy.deepcopy(model), None, "toy", torch.float32, torch.device("cpu"), 32)
    with pytest.raises(OptionError, match="20 tokens"):
        loaded.pack([[3, 4, 5], list(range(4, 24))])
