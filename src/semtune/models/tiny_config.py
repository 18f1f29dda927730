"""A small copy of a transformers config with the same structure: what a self-check builds instead of the real model.

Sizes shrink to a few dozen, and layers to one of each kind; what changes the computation (activations, windows, rotary
scaling, multipliers, grouped heads, biases) stays. Sizes are recognised by their names, as configs have no types for
them.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from semtune.models.stored_precision import ATTRIBUTE

HEADS, HEAD_DIM, WINDOW, VOCABULARY, POSITIONS = 4, 16, 4, 64, 512
"""Sizes of the copy. A window is shorter than the texts of a self-check, so that it matters there."""
MOST_LAYERS = 6
FIRST_SPECIAL_ID = 48
"""Special tokens whose ids are outside of the small vocabulary get ids from here on; texts use lower ones."""

_LAYERS = re.compile(r"(^|_)(num_hidden_layers|n_layers?|num_layers|num_decoder_layers|decoder_layers|encoder_layers)$")
_HEADS = re.compile(r"(attention_heads|^n_heads?|^num_heads|mamba_n_heads|mamba_num_heads|index_n_heads)$")
_KEY_VALUE_HEADS = re.compile(r"(key_value_heads|kv_heads|kv_n_heads|_num_key_heads|^num_kv_heads)$")
_HEAD_DIMS = re.compile(r"(head_dim|d_kv|kv_channels|rotary_dim|head_size|d_head|query_pre_attn_scalar)$")
_WIDTHS = re.compile(
    r"(hidden_size|intermediate_size\w*|hidden_dim|ffn_dim|ffn_hidden_size|d_model|d_ff|n_embd|n_inner|embed_dim"
    r"|embedding_size|proj_dim|_rank|lru_width|hidden_size_per_layer_input|dim_ff|mamba_d_ssm|width|dim_model_base"
    r"|emb_dim|d_inner|projection_dim|dff)$"
)
_EXPERTS = re.compile(r"(num_experts|n_routed_experts|num_local_experts|moe_num_experts|^num_routed_experts)$")
_CHOSEN_EXPERTS = re.compile(r"(experts_per_tok\w*|moe_top_?k|top_k_experts|moe_k|num_selected_experts)$")
_POSITIONS = re.compile(
    r"(max_position_embeddings|n_positions|n_ctx|max_sequence_length|max_seq_len|max_target_positions)$"
)
_WINDOWS = re.compile(
    r"(sliding_window|(?<!keep_)window_size|sliding_window_size|local_attention\w*|index_topk\w+"
    r"|index_block_size|^block_size)$"
)
_PERIODS = re.compile(r"(period|interval|pattern|every_n_layers|moe_layer_step|sparse_step|layer_frequency)$")
_SPECIAL = re.compile(r"_token_(id|index)$")
_SMALL = {
    "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "attn_layer_offset": 1, "expert_layer_offset": 1,
    "num_kv_shared_layers": 1, "d_state": 8, "mamba_d_state": 8, "state_size": 8, "ssm_state_size": 8,
    "chunk_size": 8, "mamba_chunk_size": 8, "n_groups": 2, "num_mtp_layers": 0, "num_nextn_predict_layers": 0,
}  # fmt: skip
"""Other names whose values are at most these."""


def tiny_config(config: Any) -> Any:
    """A copy of `config` whose model has a few hundred thousand parameters and a layer of each kind.

    Raises whatever the config's class says about sizes that it cannot combine.
    """
    fields = _shrunk(config)
    small = type(config).from_dict(fields)
    small._name_or_path = getattr(config, "_name_or_path", "")  # where remote code is found
    return small


def _shrunk(config: Any) -> dict[str, Any]:
    """The fields of `config` and its parts, with small sizes."""
    fields: dict[str, Any] = config.to_dict()
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if hasattr(part, "to_dict"):
            fields[name] = _shrunk(part)
    sizes = _Sizes(config)
    per_layer = {k: v for k, v in fields.items() if isinstance(v, list) and len(v) == sizes.layers and sizes.layers > 1}
    chosen = _one_of_each(per_layer, sizes.layers)
    for name, values in per_layer.items():
        fields[name] = [sizes.shrink(name, values[i]) for i in chosen]
    for name, value in fields.items():
        if name not in per_layer:
            fields[name] = len(chosen) if _LAYERS.search(name) and isinstance(value, int) else sizes.shrink(name, value)
    apart = fields.get("per_layer_config")
    if isinstance(apart, dict):  # the fields of layers that differ from the others, by their index
        at = {int(i): {k: sizes.shrink(k, v) for k, v in own.items()} for i, own in apart.items()}
        fields["per_layer_config"] = {new: at[old] for new, old in enumerate(chosen) if old in at}
    for name in ("transformers_version", "architectures", ATTRIBUTE):
        fields.pop(name, None)
    return fields


def _one_of_each(per_layer: dict[str, list[Any]], layers: int) -> list[int]:
    """Indices of two layers at least, with the first of each kind among them."""
    kinds: dict[str, int] = {}
    for i in range(layers):
        kinds.setdefault(repr([values[i] for values in per_layer.values()]), i)
    chosen = sorted(kinds.values())[:MOST_LAYERS]
    others = [i for i in range(layers) if i not in chosen]
    return sorted(chosen + others[: max(0, min(2, layers) - len(chosen))])


class _Sizes:
    """How the sizes of one config shrink."""

    def __init__(self, config: Any) -> None:
        self.layers = int(_first(config, "num_hidden_layers", default=2))
        self._heads = _first(config, "num_attention_heads", "n_heads", default=HEADS)
        self._hidden = _first(config, "hidden_size", "d_model", default=HEADS * HEAD_DIM)
        explicit = _field(config, "head_dim")
        self._head_dim = explicit if _is_size(explicit) else max(1, self._hidden // max(1, self._heads))
        self._few_heads = min(self._heads, HEADS)
        self._few_hidden = self._few_heads * HEAD_DIM
        if self._head_dim * self._heads != self._hidden:
            self._few_hidden //= 2
        self._rotary = _field(config, "rope_parameters") is not None
        self._next_special = FIRST_SPECIAL_ID

    def shrink(self, name: str, value: Any) -> Any:
        """The small value of the field `name`; the same value where it is no size."""
        if _SPECIAL.search(name):
            return self._special(value)
        if not _is_size(value):
            return value
        if "vocab_size" in name:
            return min(value, VOCABULARY)
        if _HEADS.search(name):
            return min(value, self._few_heads) if value != self._heads else self._few_heads
        if _KEY_VALUE_HEADS.search(name):
            return self._few_heads if value == self._heads else min(value, max(1, self._few_heads // 2))
        if _HEAD_DIMS.search(name):
            return HEAD_DIM if value == self._head_dim else _even(value * HEAD_DIM / self._head_dim, 4, 2 * HEAD_DIM)
        if _WIDTHS.search(name):
            return self._few_hidden if value == self._hidden else _eighths(value * self._few_hidden / self._hidden)
        return self._other(name, value)

    def _other(self, name: str, value: int) -> int:
        if _EXPERTS.search(name):
            return min(value, 4)
        if _CHOSEN_EXPERTS.search(name) or _PERIODS.search(name):
            return min(value, 2)
        if _WINDOWS.search(name):
            return min(value, WINDOW)
        if _POSITIONS.search(name):
            return value if self._rotary else min(value, POSITIONS)
        return min(value, _SMALL.get(name, value))

    def _special(self, value: Any) -> Any:
        if not _is_size(value) or value < VOCABULARY:
            return value if not isinstance(value, list) else [v for v in value if v < VOCABULARY] or None
        self._next_special = min(self._next_special + 1, VOCABULARY - 1)
        return self._next_special


def _first(config: Any, *names: str, default: int) -> int:
    values = (_field(config, name) for name in names)
    return next((value for value in values if _is_size(value)), default)


def _field(config: Any, name: str) -> Any:
    """A field of the config; None where there is none, or its layers have different ones."""
    try:
        return getattr(config, name, None)
    except Exception:  # noqa: BLE001 - a property of a foreign class
        return None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _even(value: float, least: int, most: int) -> int:
    return min(max(2 * round(value / 2), least), most)


def _eighths(value: float) -> int:
    return min(max(8 * round(value / 8), 8), 256)


def structure(config: Any) -> dict[str, Any]:
    """The fields of a small copy that can change how its model computes; ids, names and rates are left out."""

    def kept(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            name: kept(value) if isinstance(value, dict) else value
            for name, value in fields.items()
            if not _HARMLESS.search(name)
        }

    return kept(copy.deepcopy(tiny_config(config).to_dict()))


_HARMLESS = re.compile(
    r"(_token_id|_eps|epsilon|initializer_range|rope_theta|dtype|_name_or_path|transformers_version|id2label|label2id"
    r"|use_cache|dropout|pdrop|problem_type|return_dict|max_position_embeddings|n_positions|vocab_size|^output_"
    r"|chunk_size_feed_forward|pretraining_tp|tie_word_embeddings"
    r"|intermediate_size|ffn_dim)$"
)
