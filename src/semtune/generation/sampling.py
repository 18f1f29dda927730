"""Sampling with a temperature: the next token is drawn from softmax(logits / temperature).

Each text has a seed and its own generator of random numbers, one number a token, so what a text becomes depends on its
prompt and seed and not on the texts that are sampled beside it. (Up to rounding: sums of another batch may differ in
their last bits, which matters where a random number falls between them.) Equal prompts are encoded once: the samples
of one prompt share its prefill. There is no speculative decoding, as a draft would have to be accepted at random.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semtune.contracts import Cache, LoadedModel
from semtune.generation.finite import check_numbers


@dataclass
class _Sample:
    """One text that is being continued."""

    random: torch.Generator
    generated_ids: list[int] = field(default_factory=list)
    finished: bool = False


@torch.no_grad()
def sample(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float,
    seeds: Sequence[int],
    stop: str | None = None,
) -> list[list[int]]:
    """A random continuation of each prompt, until end-of-sequence, `stop` or `max_new_tokens`.

    Args:
        prompts: token ids of each text, none empty.
        max_new_tokens: one at least.
        temperature: above 0: the lower, the likelier the most probable tokens; 0: always the most probable token.
        seeds: one per prompt, from 0 to 2^63 - 1.
        stop: a text ends with the first token after which it contains this after something else than white space.

    Returns:
        The generated token ids of each text, without end-of-sequence.

    Raises:
        DivergedError: a logit is NaN or infinite.
    """
    samples = [_Sample(torch.Generator().manual_seed(seed)) for seed in seeds]
    unique = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    row_of = {prompt: row for row, prompt in enumerate(unique)}
    cache = loaded.new_cache(len(unique))
    rows = [row_of[tuple(prompt)] for prompt in prompts]
    hidden = _last_states(loaded, unique, cache)[rows]  # (samples, hidden_size)
    cache.keep(rows)
    running = samples
    while running:
        logits = loaded.logits(hidden)  # (running, vocab_size)
        check_numbers(logits, "logits")
        for one, row in zip(running, logits, strict=True):
            token = draw(row, temperature, one.random)
            if token == loaded.tokenizer.eos_id:
                one.finished = True
                continue
            one.generated_ids.append(token)
            one.finished = len(one.generated_ids) == max_new_tokens or stops(loaded, one.generated_ids, stop)
        rows = [row for row, one in enumerate(running) if not one.finished]
        running = [running[row] for row in rows]
        if running:
            cache.keep(rows)
            hidden = _last_states(loaded, [one.generated_ids[-1:] for one in running], cache)
    return [one.generated_ids for one in samples]


def text_seed(seed: int, *names: object) -> int:
    """A seed below 2^63 for one of many texts: the same for the same run's seed and names, in every process."""
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _last_states(loaded: LoadedModel, texts: Sequence[Sequence[int]], cache: Cache) -> Tensor:
    """The last hidden state of each text's new tokens, behind those in the cache: (texts, hidden_size)."""
    input_ids, batch = loaded.pack(texts, cache)
    ends = itertools.accumulate(len(text) for text in texts)
    return loaded.hidden_states(input_ids, batch, [end - 1 for end in ends])


def draw(logits: Tensor, temperature: float, random: torch.Generator) -> int:
    """A token by one uniform random number and the cumulative distribution; logits (vocab_size,)."""
    if temperature == 0:
        return int(logits.argmax())
    cumulative = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1).cpu()
    drawn = torch.rand((), dtype=torch.float64, generator=random) * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, drawn, right=True)), len(cumulative) - 1)


def stops(loaded: LoadedModel, ids: Sequence[int], stop: str | None) -> bool:
    """Whether the text of `ids` contains `stop` after something else than white space."""
    return stop is not None and stop in loaded.tokenizer.decode(ids).lstrip()
