"""An upper bound of a run's memory, from the model's config and the texts alone: what is far below needs no plan."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from semtune.contracts import PromptParts
from semtune.models.fake_model import most_parameters
from semtune.models.locate import locate_config, planning_tokenizer
from semtune.plan import requests
from semtune.plan.requests import Data
from semtune.records import Example, RunSpec
from semtune.registry import PROMPTS
from semtune.specs import prompt_settings

Texts = Sequence[tuple[Example, PromptParts]]
"""Training examples, each as its prompt writes it."""
SPARE_BYTES = 1 << 30
"""What stands beside weights, optimizer and activations: the vocabulary's products, buffers of libraries."""


def upper_bound_fits(spec: RunSpec, data: Data) -> bool:
    """Whether an upper bound of a run's memory is below half of this machine's, so that the run needs no plan.

    The bound: every parameter is trained in fp32 (weight, gradient, two moments, master: 20 bytes), and every token of
    the largest step keeps, in every layer, 20 rows of the hidden size and 8 of the MLP's in fp32; prediction keeps them
    in one layer, and keys and values in every layer; `SPARE_BYTES` beside them. Texts are tokenised only where a token
    for each byte would be too many. Raises DataError, ModelError.
    """
    config = locate_config(spec.model, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    parameters = most_parameters(config)
    if parameters is None:
        return False
    predicted = spec.predict_batch_size * spec.max_length
    predicting = hidden_bytes(config, predicted, layers=1) + key_value_bytes(config, predicted)
    room = requests.local_device(spec.device).memory_bytes / 2 - 20 * parameters - SPARE_BYTES
    if predicting >= room:
        return False
    prompt = PROMPTS.get(spec.prompt)(data.space, prompt_settings(spec))
    texts = [(example, prompt.encode(example)) for example in data.train or ()]
    if hidden_bytes(config, _step_tokens(spec, _byte_counts(texts))) < room:
        return True
    return bool(texts) and hidden_bytes(config, _step_tokens(spec, _token_counts(spec, config, texts))) < room


def hidden_bytes(config: Any, tokens: int, layers: int | None = None) -> int:
    """Bytes of 20 rows of the hidden size and 8 of the MLP's in fp32, for every token and layer; None: all layers."""
    text = config.get_text_config()
    hidden, mlp = int(text.hidden_size), int(text.intermediate_size)
    return 4 * tokens * (layers or int(text.num_hidden_layers)) * (20 * hidden + 8 * mlp)


def key_value_bytes(config: Any, tokens: int) -> int:
    """Bytes of a key and a value of the hidden size in fp32, for every token and layer."""
    text = config.get_text_config()
    return 4 * tokens * int(text.num_hidden_layers) * 2 * int(text.hidden_size)


def _step_tokens(spec: RunSpec, lengths: Iterable[int]) -> int:
    """Tokens of the largest possible step: the longest texts together. No lengths: each has `max_length` tokens."""
    known = [min(length, spec.max_length) for length in lengths]
    if not known:
        return spec.batch_size * spec.max_length
    return sum(heapq.nlargest(spec.batch_size, known))


def _byte_counts(texts: Texts) -> list[int]:
    """Bytes of each training text with its prompt and completion."""
    return [
        sum(len(part.encode(errors="replace")) for part in (p.prefix, p.text, p.suffix, p.completion or ""))
        for _, p in texts
    ]


def _token_counts(spec: RunSpec, config: Any, texts: Texts) -> list[int]:
    """Upper bounds of the tokens of each training text with its prompt and completion; a completion's by its bytes."""
    tokenizer, _ = planning_tokenizer(
        spec.model, config, trust_remote_code=spec.trust_remote_code, revision=spec.revision
    )
    return [
        len(tokenizer.encode(example, parts, spec.max_length, completion=False))
        + len((parts.completion or "").encode())
        + 1  # end-of-sequence
        for example, parts in texts
    ]
