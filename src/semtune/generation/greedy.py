"""Greedy decoding with continuous batching and speculative decoding.

Each forward receives, for every request, its pending tokens (those that the cache lacks) and a draft of the tokens
after them (`prompt_lookup`). The logits say what greedy decoding generates at each position; a draft is accepted as
far as it agrees, and the cache is rewound to the accepted tokens. So the output is that of one token a forward, in
fewer forwards. When a request finishes, waiting ones are prefilled in its place, which keeps the matrix products
large.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semtune.contracts import Cache, Constraint, LoadedModel
from semtune.generation.finite import check_numbers
from semtune.generation.grouping import consecutive_groups
from semtune.generation.prompt_lookup import PromptLookup
from semtune.nn.argmax import row_argmax

LOGIT_ROWS = 256
"""About as many rows of logits, (rows, vocab_size), exist at once; a request with a longer draft exceeds it."""


@dataclass
class _Request:
    """One text that is being continued."""

    pending_ids: Sequence[int]
    """Tokens that the next forward must read: the prompt, later the last generated token."""
    state: Any
    """The constraint's state after the generated tokens."""
    generated_ids: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    """Proposed tokens after the pending ones, which the next forward accepts or rejects."""
    finished: bool = False

    @property
    def new_ids(self) -> list[int]:
        """Input of the next forward: the pending tokens, then the draft."""
        return [*self.pending_ids, *self.draft]


_Group = tuple[list[_Request], Cache]
"""Requests and their cache: row i of the cache is request i."""


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
    eos_id = loaded.tokenizer.eos_id
    prompt_lookup = prompt_lookup or PromptLookup(eos_id)
    start = constraint.start() if constraint is not None else None
    requests = [_Request(prompt, start) for prompt in prompts]
    waiting = sorted(requests, key=lambda request: len(request.pending_ids))  # the next one last
    decoding: list[_Request] = []
    cache = loaded.new_cache(0)
    max_cached = sum(len(request.pending_ids) for request in waiting[-batch_size:]) if batch_size else None
    while decoding or waiting:
        budget = None if max_cached is None else max_cached - sum(cache.lengths)
        prefill = _admit(waiting, budget, at_least_one=not decoding)
        groups = [g for g in ((decoding, cache), (prefill, loaded.new_cache(len(prefill)))) if g[0]]
        for request in (*decoding, *prefill):
            limit = max_new_tokens - len(request.generated_ids) - 1  # one token follows the draft in any case
            request.draft = prompt_lookup.propose(request.generated_ids, limit) if cache.rewindable else []
        predicted = _forward(loaded, groups, constraint)
        decoding, cache = [], loaded.new_cache(0)
        for group, group_cache in groups:
            rows = _accept_drafts(group, group_cache, predicted, max_new_tokens, constraint, eos_id)
            decoding += [group[row] for row in rows]
            if rows:
                group_cache.keep(rows)
                cache.join(group_cache)
        finished = [request for group, _ in groups for request in group if request.finished]
        for request in finished:
            ids = request.generated_ids
            prompt_lookup.learn([*ids, eos_id] if len(ids) < max_new_tokens else ids)
        if progress is not None and finished:
            progress(len(finished))
    return [request.generated_ids for request in requests]


def _admit(waiting: list[_Request], budget: int | None, *, at_least_one: bool) -> list[_Request]:
    """Take requests off the end of `waiting` whose prompts fit into `budget` tokens (None: all of them)."""
    admitted: list[_Request] = []
    while waiting and (budget is None or len(waiting[-1].pending_ids) <= budget or (at_least_one and not admitted)):
        admitted.append(waiting.pop())
        budget = None if budget is None else budget - len(admitted[-1].pending_ids)
    return admitted


def _accept_drafts(
    requests: Sequence[_Request],
    cache: Cache,
    predicted: Iterator[list[int]],
    max_new_tokens: int,
    constraint: Constraint | None,
    eos_id: int,
) -> list[int]:
    """Append the predicted tokens to `requests` and rewind `cache` to before rejected drafts.

    Returns the rows of the requests that are not finished.
    """
    lengths = []  # per request, the cached tokens that stay
    for request, cached in zip(requests, cache.lengths, strict=True):
        rejected = len(request.draft)
        rejected -= _accept(request, next(predicted), constraint, eos_id)
        lengths.append(cached - rejected)
        request.finished = request.finished or len(request.generated_ids) == max_new_tokens
    if lengths != list(cache.lengths):
        cache.rewind(lengths)
    return [row for row, request in enumerate(requests) if not request.finished]


def _forward(loaded: LoadedModel, groups: Sequence[_Group], constraint: Constraint | None) -> Iterator[list[int]]:
    """For each request, the greedy token after its pending tokens and after each token of its draft."""
    requests = [request for group, _ in groups for request in group]
    ends = itertools.accumulate(len(request.new_ids) for request in requests)
    counts = [len(request.draft) + 1 for request in requests]
    query_indices = [index for end, n in zip(ends, counts, strict=True) for index in range(end - n, end)]
    input_ids, batch = loaded.pack_groups([([r.new_ids for r in group], cache) for group, cache in groups])
    hidden = loaded.hidden_states(input_ids, batch, query_indices)  # (query_indices, hidden_size)
    check_numbers(hidden, "hidden states")
    return _predict(loaded, hidden, requests, constraint)


def _predict(
    loaded: LoadedModel, hidden: Tensor, requests: Sequence[_Request], constraint: Constraint | None
) -> Iterator[list[int]]:
    """For each request, the best (allowed) token at each query; hidden (sum of len(draft) + 1, hidden_size)."""
    row = 0
    for chunk in consecutive_groups([len(request.draft) + 1 for request in requests], LOGIT_ROWS):
        counts = [len(requests[i].draft) + 1 for i in chunk]
        logits = loaded.logits(hidden[row : row + sum(counts)])  # (queries of the chunk, vocab_size)
        row += sum(counts)
        if constraint is None:
            best = row_argmax(logits)  # (queries of the chunk,)
            check_numbers(logits.gather(1, best.unsqueeze(1)), "logits")
            yield from (part.tolist() for part in torch.split(best, counts))
        else:
            for i, part in zip(chunk, torch.split(logits, counts), strict=True):
                yield _best_allowed(part, requests[i], constraint)


def _best_allowed(logits: Tensor, request: _Request, constraint: Constraint) -> list[int]:
    """The best allowed token at each query, up to the first that differs from the draft.

    logits: (len(draft) + 1, vocab_size). Later queries follow a rejected token, so their tokens are of no use.
    """
    check_numbers(logits, "logits")
    best: list[int] = []
    state = request.state
    for row, drafted in zip(logits, [*request.draft, None], strict=True):
        allowed = constraint.allowed(state)
        best.append(allowed[int(row[torch.tensor(allowed, device=logits.device)].argmax())])
        if best[-1] != drafted:
            break
        state = constraint.advance(state, best[-1])
    return best


def _accept(request: _Request, best: Sequence[int], constraint: Constraint | None, eos_id: int) -> int:
    """Append the accepted part of the draft and one token after it to `generated_ids`; the number accepted."""
    accepted = 0
    for token, drafted in zip(best, [*request.draft, None], strict=False):
        if token == eos_id:
            request.finished = True
            break
        request.generated_ids.append(token)
        if constraint is not None:
            request.state = constraint.advance(request.state, token)
        if token != drafted:
            break
        accepted += 1
    request.pending_ids = request.generated_ids[-1:]
    return accepted
