"""Writes tiny models of transformers as GGUF files, in llama.cpp's names and layout, written out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3Config

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
SANDWICH = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SIZES, num_hidden_layers=2, vocab_size=268, tie_word_embeddings=False),
    "qwen2": lambda: Qwen2Config(**SIZES, num_hidden_layers=2, vocab_size=268, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(
        **SIZES,
        num_hidden_layers=2,
        vocab_size=268,
        head_dim=128,
        tie_word_embeddings=False,
        max_position_embeddings=128,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **SIZES, num_hidden_layers=7, vocab_size=268, head_dim=32, sliding_window=8, max_position_embeddings=128
    ),
}
"""GGUF architecture -> config. Gemma's sixth layer looks at everything, the others at 8 tokens."""


def tiny_model(architecture: str) -> Any:
    """A random model with weights, norms included, that are all far from what an untrained one has."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture](), dtype=torch.float32).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=0.5 if "norm" in name else 0.0, std=0.2)
    return model


def write_gguf(
    file: Path,
    architecture: str,
    model: Any,
    kind: gguf.GGMLQuantizationType,
    extra: str | None = None,
    rope_factor: float | None = None,
) -> None:
    """Write `model`, its matrices quantised to `kind`.

    Args:
        extra: name of a further tensor, for which no model has a place.
        rope_factor: by what rotary positions are scaled.
    """
    config = model.config
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture in ("qwen3", "gemma3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    _add_tokenizer(writer, "llama" if architecture == "gemma3" else "gpt2")
    tied = config.tie_word_embeddings
    for name, parameter in model.named_parameters():
        if not (tied and name.startswith("lm_head")):
            rows = _llama_cpp_layout(name, parameter.detach().numpy(), architecture, config)
            chosen = kind if rows.ndim > 1 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(_name(name, architecture), gguf.quantize(rows, chosen), raw_dtype=chosen)
    if extra is not None:
        writer.add_tensor(extra, np.ones(8, dtype=np.float32))
    if rope_factor is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope_factor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str, architecture: str) -> str:
    module, _, leaf = name.rpartition(".")
    names = NAMES | (SANDWICH if architecture == "gemma3" else {})
    block = re.match(r"model\.layers\.(\d+)\.(.*)", module)
    return f"blk.{block[1]}.{names[block[2]]}.{leaf}" if block else f"{names[module]}.{leaf}"


def _llama_cpp_layout(name: str, rows: Any, architecture: str, config: Any) -> Any:
    if architecture == "gemma3" and "norm" in name:
        return rows + np.float32(1)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if architecture != "llama" or heads is None:
        return rows
    order = []  # row by row: the first of one half, the first of the other, the second of the one, …
    size = len(rows) // heads
    for head in range(heads):
        for pair in range(size // 2):
            order += [head * size + pair, head * size + size // 2 + pair]
    return rows[order]


def _add_tokenizer(writer: gguf.GGUFWriter, kind: str) -> None:
    control, normal, byte = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.BYTE
    writer.add_tokenizer_model(kind)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    if kind == "llama":
        pieces = ["▁", "a", "b", "ab", "▁a", "▁ab", "c", "\n"]
        tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{value:02X}>" for value in range(256)), *pieces]
        types = [control] * 4 + [byte] * 256 + [normal] * len(pieces)
        writer.add_unk_token_id(3)
        writer.add_pad_token_id(0)
        writer.add_token_scores([0.0] * len(tokens))
        writer.add_add_bos_token(True)
    else:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        letters = list(bytes_to_unicode().values())
        tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *letters, "ab", "abc", "th", "the", "in", "ing", "er", "on"]
        types = [control] * 4 + [normal] * (len(tokens) - 4)
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(["a b", "ab c", "t h", "th e", "i n", "in g", "e r", "o n"])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
