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
        OptionError: the model has no such positions, or would compute a text otherwise than by itself.
    """
    needed = tokens + new_tokens
    for limit, why in hard_limits(config):
        if needed > limit:
            generated = f" and {new_tokens} generated tokens" if new_tokens else ""
            raise OptionError(
                f"{why}, so {option} {tokens}{generated} are too many; give {option} {max(limit - new_tokens, 1)} or "
                "less."
            )
    trained = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(trained, int) or needed <= trained:
        return None
    return f"texts of up to {needed} tokens exceed the {trained} that the model was trained on; long ones may suffer"


def check_text(config: Any, tokens: int) -> None:
    """Refuse a text that is too long, whoever made it. Raises OptionError."""
    for limit, why in hard_limits(config):
        if tokens > limit:
            raise OptionError(f"{why}, and a text has {tokens} tokens; shorten it.")


def hard_limits(config: Any) -> Iterator[tuple[int, str]]:
    """The numbers of tokens beyond which a text cannot be computed, each with the reason as a sentence's beginning."""
    text = config.get_text_config()
    trained = getattr(text, "max_position_embeddings", None)
    scalings = list(_rotary(getattr(text, "rope_parameters", None)))
    for scaling in scalings:
        original = scaling.get("original_max_position_embeddings") or trained
        if scaling.get("rope_type") in _BATCH_DEPENDENT and isinstance(original, int):
            why = f"this model's rotary scaling ({scaling['rope_type']}) depends on the longest text of a batch"
            yield original, f"Beyond {original} tokens {why}"
    for name in _SPARSE:
        dense = getattr(text, name, None)
        if isinstance(dense, int):
            yield dense, f"Beyond {dense} tokens this model's attention is sparse ({name}), which is not supported"
    if isinstance(trained, int) and not scalings and not _unlimited(text):
        yield trained, f"The model has {trained} learned positions"


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
