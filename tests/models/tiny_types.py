"""Tiny random models of transformers' own causal architectures, saved by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from semtune.models.quiet import quiet

from .conftest import byte_level_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 330, "hidden_size": 64, "n_embd": 64, "d_model": 64, "intermediate_size": 48, "ffn_dim": 48,
    "moe_intermediate_size": 48, "shared_expert_intermediate_size": 48, "expert_ffn_hidden_size": 48,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "num_attention_heads": 4, "n_head": 4,
    "n_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "n_positions": 64,
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "qk_nope_head_dim": 8, "first_k_dense_replace": 1, "word_embed_proj_dim": 64, "rotary_dim": 8, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "n_shared_experts": 1, "initializer_range": 0.2, "sliding_window": 16,
}  # fmt: skip
"""What sizes are called in the configs; each config gets those that it has."""


def tiny_config(model_type: str, **changes: Any) -> Any:
    """A config with small sizes wherever the class has a field of that name."""
    config_class = CONFIG_MAPPING[model_type]
    with quiet():
        default = config_class()
        known = {name: value for name, value in SIZES.items() if hasattr(default, name)}
        return config_class(**{**known, **changes})


def save_tiny(model_type: str, folder: Path, **changes: Any) -> Any:
    """Save a random model by `save_pretrained`, with a tokenizer beside it; returns the model in evaluation mode."""
    torch.manual_seed(0)
    with quiet():
        model = AutoModelForCausalLM.from_config(tiny_config(model_type, **changes)).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return model
