"""Greedy decoding of a list of prompts with continuous batching: a finished request's place is taken by waiting ones.

That keeps the matrix products large. What one forward does stands in `decoding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from semtune.contracts import Constraint, LoadedModel
from semtune.generation.decoding import Group, Request, advance
from semtune.generation.prompt_lookup import PromptLookup


@torch.no_grad()
def greedy(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    constraint: Constraint | None = None,
    *,
    batch_size: int | None = None,
    prompt_lookup: PromptLookup | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """The most probable next token, again and again, until end-of-sequence or `max_new_tokens`.

    Args:
        prompts: token ids of each text, none empty.
        max_new_tokens: one at least.
        constraint: which tokens are allowed; None: all.
        batch_size: number of prompts decoded at once, the longest first, so that a batch too large for the memory
            fails at once; None: all. The prompt tokens of that first batch are the budget of the cache from then on,
            so more than `batch_size` of the shorter prompts may decode together.
        prompt_lookup: proposes drafts and learns from finished outputs; None: an empty one.
        progress: receives how many more texts are finished.

    Returns:
        The generated token ids of each text, without end-of-sequence.

    Raises:
        DivergedError: a hidden state or logit is NaN or infinite.
    """
    prompt_lookup = prompt_lookup or PromptLookup(loaded.tokenizer.eos_id)
    requests = [Request(prompt, max_new_tokens, constraint, prompt_lookup) for prompt in prompts]
    waiting = sorted(requests, key=lambda request: len(request.pending_ids))  # the next one last
    decoding = Group([], loaded.new_cache(0))
    max_cached = sum(len(request.pending_ids) for request in waiting[-batch_size:]) if batch_size else None
    while decoding.requests or waiting:
        budget = None if max_cached is None else max_cached - sum(decoding.cache.lengths)
        admitted = _admit(waiting, budget, at_least_one=not decoding.requests)
        prefill = Group(admitted, loaded.new_cache(len(admitted)))
        groups = [group for group in (decoding, prefill) if group.requests]
        finished = advance(loaded, groups)
        decoding = Group([], loaded.new_cache(0))
        for group in groups:
            group.drop_finished()
            if group.requests:
                decoding.join(group)
        if progress is not None and finished:
            progress(len(finished))
    return [request.generated_ids for request in requests]


def _admit(waiting: list[Request], budget: int | None, *, at_least_one: bool) -> list[Request]:
    """Take requests off the end of `waiting` whose prompts fit into `budget` tokens (None: all of them)."""
    admitted: list[Request] = []
    while waiting and (budget is None or len(waiting[-1].pending_ids) <= budget or (at_least_one and not admitted)):
        admitted.append(waiting.pop())
        budget = None if budget is None else budget - len(admitted[-1].pending_ids)
    return admitted
