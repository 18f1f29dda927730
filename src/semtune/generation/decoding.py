"""One forward of greedy decoding for many requests, with speculative decoding.

Each forward receives, for every request, its pending tokens (those that the cache lacks) and a draft of the tokens
after them (`prompt_lookup`). The logits say what greedy decoding generates at each position; a draft is accepted as
far as it agrees, and the cache is rewound to the accepted tokens. So the output is that of one token a forward, in
fewer forwards.
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


@dataclass(eq=False)
class Request:
    """One text that is being continued."""

    pending_ids: Sequence[int]
    """Tokens that the next forward must read: the prompt, later the last generated token."""
    max_new_tokens: int
    """Most tokens to generate, one at least."""
    constraint: Constraint | None
    """Which tokens are allowed; None: all."""
    prompt_lookup: PromptLookup
    """Proposes drafts and learns from the finished output."""
    draw: Callable[[Tensor], int] | None = None
    """The next token by logits (vocab_size,), without drafts and constraints; None: the most probable one."""
    stops: Callable[[Sequence[int]], bool] | None = None
    """Whether the generated tokens end the text; None: none do."""
    generated_ids: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    """Proposed tokens after the pending ones, which the next forward accepts or rejects."""
    finished: bool = False

    def __post_init__(self) -> None:
        self.state: Any = self.constraint.start() if self.constraint is not None else None
        """The constraint's state after the generated tokens."""

    @property
    def new_ids(self) -> list[int]:
        """Input of the next forward: the pending tokens, then the draft."""
        return [*self.pending_ids, *self.draft]


@dataclass(eq=False)
class Group:
    """Requests and their cache: row i of the cache is request i."""

    requests: list[Request]
    cache: Cache

    def drop_finished(self) -> None:
        """Forget the requests that are finished, and their rows."""
        rows = [row for row, request in enumerate(self.requests) if not request.finished]
        if len(rows) < len(self.requests):
            self.requests = [self.requests[row] for row in rows]
            self.cache.keep(rows)

    def join(self, other: Group) -> None:
        """Append the requests of `other`, which must not be used afterwards."""
        self.requests = self.requests + other.requests
        self.cache.join(other.cache)


def advance(loaded: LoadedModel, groups: Sequence[Group]) -> list[Request]:
    """One forward over all groups; every request gets one token at least, or is finished.

    Returns:
        The requests that this forward finished; they are still in their groups.

    Raises:
        DivergedError: a hidden state or logit is NaN or infinite.
    """
    eos_id = loaded.tokenizer.eos_id
    for group in groups:
        for request in group.requests:
            limit = request.max_new_tokens - len(request.generated_ids) - 1  # one token follows the draft in any case
            drafts = group.cache.rewindable and request.draw is None
            request.draft = request.prompt_lookup.propose(request.generated_ids, limit) if drafts else []
    predicted = _forward(loaded, groups)
    for group in groups:
        _accept_drafts(group, predicted, eos_id)
    finished = [request for group in groups for request in group.requests if request.finished]
    for request in (request for request in finished if request.draw is None):
        ids = request.generated_ids
        request.prompt_lookup.learn([*ids, eos_id] if len(ids) < request.max_new_tokens else ids)
    return finished


def _accept_drafts(group: Group, predicted: Iterator[list[int]], eos_id: int) -> None:
    """Append the predicted tokens to the group's requests and rewind its cache to before rejected drafts."""
    lengths = []  # per request, the cached tokens that stay
    for request, cached in zip(group.requests, group.cache.lengths, strict=True):
        rejected = len(request.draft)
        rejected -= _accept(request, next(predicted), eos_id)
        lengths.append(cached - rejected)
        request.finished = request.finished or len(request.generated_ids) == request.max_new_tokens
    if lengths != list(group.cache.lengths):
        group.cache.rewind(lengths)


def _forward(loaded: LoadedModel, groups: Sequence[Group]) -> Iterator[list[int]]:
    """For each request, the greedy token after its pending tokens and after each token of its draft."""
    requests = [request for group in groups for request in group.requests]
    ends = itertools.accumulate(len(request.new_ids) for request in requests)
    counts = [len(request.draft) + 1 for request in requests]
    query_indices = [index for end, n in zip(ends, counts, strict=True) for index in range(end - n, end)]
    input_ids, batch = loaded.pack_groups([([r.new_ids for r in g.requests], g.cache) for g in groups])
    hidden = loaded.hidden_states(input_ids, batch, query_indices)  # (query_indices, hidden_size)
    check_numbers(hidden, "hidden states")
    return _predict(loaded, hidden, requests)


def _predict(loaded: LoadedModel, hidden: Tensor, requests: Sequence[Request]) -> Iterator[list[int]]:
    """For each request, the best (allowed) token at each query; hidden (sum of len(draft) + 1, hidden_size)."""
    row = 0
    for chunk in consecutive_groups([len(request.draft) + 1 for request in requests], LOGIT_ROWS):
        counts = [len(requests[i].draft) + 1 for i in chunk]
        logits = loaded.logits(hidden[row : row + sum(counts)])  # (queries of the chunk, vocab_size)
        row += sum(counts)
        yield from _best_of_chunk(logits, counts, [requests[i] for i in chunk])


def _best_of_chunk(logits: Tensor, counts: Sequence[int], requests: Sequence[Request]) -> Iterator[list[int]]:
    """For each request, the best (allowed) token at each of its `counts[i]` queries; logits (queries, vocab_size)."""
    if all(request.constraint is None and request.draw is None for request in requests):
        best = row_argmax(logits)  # (queries,)
        check_numbers(logits.gather(1, best.unsqueeze(1)), "logits")
        yield from (part.tolist() for part in torch.split(best, list(counts)))
        return
    for request, part in zip(requests, torch.split(logits, list(counts)), strict=True):
        if request.draw is not None:
            check_numbers(part, "logits")
            yield [request.draw(part[0])]
        elif request.constraint is not None:
            yield _best_allowed(part, request, request.constraint)
        else:
            yield from _best_of_chunk(part, [len(part)], [request])


def _best_allowed(logits: Tensor, request: Request, constraint: Constraint) -> list[int]:
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


def _accept(request: Request, best: Sequence[int], eos_id: int) -> int:
    """Append the accepted part of the draft and one token after it to `generated_ids`; the number accepted."""
    accepted = 0
    for token, drafted in zip(best, [*request.draft, None], strict=False):
        if token == eos_id:
            request.finished = True
            break
        request.generated_ids.append(token)
        if request.stops is not None and request.stops(request.generated_ids):
            request.finished = True
            break
        if request.constraint is not None:
            request.state = request.constraint.advance(request.state, token)
        if token != drafted:
            break
        accepted += 1
    request.pending_ids = request.generated_ids[-1:]
    return accepted
