"""How long texts may be for a model: learned positions run out, rotary ones can be extrapolated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semtune.errors import OptionError

_BATCH_DEPENDENT = ("dynamic", "longrope")
"""Kinds of rotary scaling whose frequencies change for a whole batch when its longest text exceeds the original length
(https://github.com/huggingface/transformers/blob/v5.0.0/src/transformers/modeling_rope_utils.py)."""

_SPARSE = ("index_topk", "keep_window_size", "attention_chunk_size")
"""Numbers of keys that a query attends to at most: DeepSeek-V3.2's indexer, Doge's dynamic mask, Llama 4's chunks."""


def check_positions(config: Any, tokens: int, *, option: str = "--max-length", new_tokens: int = 0) -> str | None:
    """A note where texts of `tokens` and `new_tokens` generated ones exceed the length that a model was trained on.

    Args:
        config: transformers' config.
        tokens: of the longest text.
        option: the option that limits it.

    Raises:
        OptionError: the model has no such positions, or would compute a short text otherwise beside a long one.
    """
    text = config.get_text_config()
    limit = getattr(text, "max_position_embeddings", None)
    needed = tokens + new_tokens
    generated = f" and {new_tokens} generated ones" if new_tokens else ""
    scalings = list(_rotary(getattr(text, "rope_parameters", None)))
    for scaling in scalings:
        if scaling.get("rope_type") not in _BATCH_DEPENDENT:
            continue
        original = scaling.get("original_max_position_embeddings") or limit
        if isinstance(original, int) and needed > original:
            raise OptionError(
                f"Beyond {original} tokens this model's rotary scaling ({scaling['rope_type']}) depends on the longest "
                f"text of a batch, so {option} {tokens}{generated} are too many; give {option} {original - new_tokens} "
                "or less."
            )
    for name in _SPARSE:
        dense = getattr(text, name, None)
        if isinstance(dense, int) and needed > dense:
            raise OptionError(
                f"Beyond {dense} tokens this model's attention is sparse ({name}), which semtune does not compute, so "
                f"{option} {tokens}{generated} are too many; give {option} {dense - new_tokens} or less."
            )
    if not isinstance(limit, int) or needed <= limit:
        return None
    if not scalings:
        if _unlimited(text):
            return None
        raise OptionError(
            f"The model has {limit} learned positions, so {option} {tokens}{generated} are too many; give {option} "
            f"{limit - new_tokens} or less."
        )
    return f"texts of up to {needed} tokens exceed the {limit} that the model was trained on; long ones may suffer"


def _rotary(parameters: Any) -> Iterator[dict[str, Any]]:
    """The rotary parameters, of each kind of layer where there are several."""
    if not isinstance(parameters, dict):
        return
    if any(isinstance(value, dict) for value in parameters.values()):
        yield from (value for value in parameters.values() if isinstance(value, dict))
    else:
        yield parameters


def _unlimited(text: Any) -> bool:
    """Whether positions are biases of the attention scores (ALiBi), which never run out."""
    return bool(getattr(text, "alibi", False)) or getattr(text, "position_embedding_type", "") == "alibi"
