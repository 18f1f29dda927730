"""Greedy decoding of many texts at once: unpadded, with a key-value cache, several guessed tokens a forward.

Each forward is given, of every text, the tokens that the cache lacks and a draft of what comes next (`drafts`). Its
logits say what greedy decoding would have said at each place; a draft holds as far as it agrees, and the cache forgets
the rest. So the answers are those of one token a forward, in fewer forwards. When a text is finished, another takes its
place, so that matrix products stay wide.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from semtune.contracts import LoadedModel
from semtune.generation.prompt_lookup import PromptLookup
from semtune.nn.argmax import row_argmax
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch

LOGIT_ROWS = 256
"""Rows of logits that exist at once, about: each is as wide as the vocabulary."""


class Constraint(Protocol):
    """What may be said; a state stands for what one text has said so far."""

    def start(self) -> Any:
        """The state of a text that has said nothing."""
        ...

    def allowed(self, state: Any) -> Sequence[int]:
        """Token ids that may come next; never empty."""
        ...

    def advance(self, state: Any, token: int) -> Any:
        """The state after `token`, an allowed one other than end-of-sequence."""
        ...


@dataclass
class _Text:
    """One text on its way."""

    fresh: Sequence[int]
    """Tokens that are certain and not in the cache: the prompt, later the last token said."""
    state: Any
    said: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    ended: bool = False


@torch.no_grad()
def greedy(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    constraint: Constraint | None = None,
    *,
    at_once: int | None = None,
    drafts: PromptLookup | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """The most probable next token, again and again, until end-of-sequence or `max_new_tokens`.

    Args:
        prompts: token ids of each text, none empty.
        max_new_tokens: one at least.
        constraint: None: anything may be said.
        at_once: how many of the longest texts are on their way at the same time; None: all. They come first (what
            will not fit fails at once). Later, more of the shorter ones share as many tokens: these are what takes
            memory.
        drafts: guesses, which learn from the answers; None: fresh ones.
        progress: receives how many more texts are done.

    Returns:
        New token ids of each text, end-of-sequence left out.
    """
    eos = loaded.tokenizer.eos_id
    drafts = drafts or PromptLookup(eos)
    start = constraint.start() if constraint is not None else None
    texts = [_Text(prompt, start) for prompt in prompts]
    waiting = sorted(texts, key=lambda text: len(text.fresh))  # the next one last
    running: list[_Text] = []
    cache = KeyValueCache(0)
    budget = sum(len(text.fresh) for text in waiting[-at_once:]) if at_once else None
    while running or waiting:
        room = None if budget is None else budget - sum(cache.lengths)
        newcomers = _newcomers(waiting, room, nothing_runs=not running)
        sides = [side for side in ((running, cache), (newcomers, KeyValueCache(len(newcomers)))) if side[0]]
        for text in (*running, *newcomers):
            text.draft = drafts.guess(text.said, max_new_tokens - len(text.said) - 1)
        said = _forward(loaded, sides, constraint)
        running, cache = [], KeyValueCache(0)
        for side, held in sides:
            on = _advance(side, held, said, max_new_tokens, constraint, eos)
            running += [side[row] for row in on]
            if on:
                held.keep(on)
                cache.join(held)
        done = [text for side, _ in sides for text in side if text.ended]
        for text in done:
            drafts.learn([*text.said, eos] if len(text.said) < max_new_tokens else text.said)
        if progress is not None and done:
            progress(len(done))
    return [text.said for text in texts]


def _newcomers(waiting: list[_Text], room: int | None, *, nothing_runs: bool) -> list[_Text]:
    """Take texts off the end of `waiting` that fit into `room` tokens (None: all); one at least where nothing runs."""
    newcomers: list[_Text] = []
    while waiting and (room is None or len(waiting[-1].fresh) <= room or (nothing_runs and not newcomers)):
        newcomers.append(waiting.pop())
        room = None if room is None else room - len(newcomers[-1].fresh)
    return newcomers


_Side = tuple[list[_Text], KeyValueCache]


def _advance(
    texts: Sequence[_Text],
    cache: KeyValueCache,
    said: Iterator[list[int]],
    max_new_tokens: int,
    constraint: Constraint | None,
    eos: int,
) -> list[int]:
    """Let `texts` say what the forward has shown, take back what their caches hold of wrong drafts; who goes on."""
    before = [n - len(text.fresh) - len(text.draft) for n, text in zip(cache.lengths, texts, strict=True)]
    right = []  # tokens of each text that its cache goes on with
    for text, start in zip(texts, before, strict=True):
        certain = start + len(text.fresh)
        right.append(certain + _accept(text, next(said), constraint, eos))
        text.ended = text.ended or len(text.said) == max_new_tokens
    cache.rewind(right)
    return [row for row, text in enumerate(texts) if not text.ended]


def _forward(loaded: LoadedModel, sides: Sequence[_Side], constraint: Constraint | None) -> Iterator[list[int]]:
    """Of each text what greedy decoding says after its certain tokens, and after each token of its draft."""
    texts = [text for side, _ in sides for text in side]
    fed = [[*text.fresh, *text.draft] for text in texts]
    ends = itertools.accumulate(len(tokens) for tokens in fed)
    counts = [len(text.draft) + 1 for text in texts]
    places = [place for end, n in zip(ends, counts, strict=True) for place in range(end - n, end)]
    ids = torch.tensor([token for tokens in fed for token in tokens], device=loaded.device)
    parts = [PackedBatch(tuple(len(t.fresh) + len(t.draft) for t in side), cache) for side, cache in sides]
    hidden = loaded.hidden_states(ids, PackedBatch.side_by_side(parts), places)  # (places, hidden_size)
    return _best(loaded, hidden, texts, constraint)


def _best(
    loaded: LoadedModel, hidden: Tensor, texts: Sequence[_Text], constraint: Constraint | None
) -> Iterator[list[int]]:
    """The best (allowed) token at each place of each text; hidden (places, hidden_size), draft + 1 of each text."""
    row = 0
    for group in _groups([len(text.draft) + 1 for text in texts], LOGIT_ROWS):
        counts = [len(texts[i].draft) + 1 for i in group]
        logits = loaded.logits(hidden[row : row + sum(counts)])  # (places of the group, vocab)
        row += sum(counts)
        if constraint is None:
            yield from (own.tolist() for own in torch.split(row_argmax(logits), counts))
        else:
            for i, own in zip(group, torch.split(logits, counts), strict=True):
                yield _best_allowed(own, texts[i], constraint)


def _best_allowed(logits: Tensor, text: _Text, constraint: Constraint) -> list[int]:
    """The best allowed token at each place, as far as the draft is what comes out; logits (draft + 1, vocab)."""
    best: list[int] = []
    state = text.state
    for row, drafted in zip(logits, [*text.draft, None], strict=True):
        allowed = constraint.allowed(state)
        best.append(allowed[int(row[torch.tensor(allowed, device=logits.device)].argmax())])
        if best[-1] != drafted:
            break
        state = constraint.advance(state, best[-1])
    return best


def _accept(text: _Text, best: Sequence[int], constraint: Constraint | None, eos: int) -> int:
    """Let `text` say what follows from `best`, one token more than its draft agrees; how many of the draft did."""
    agreed = 0
    for token, drafted in zip(best, [*text.draft, None], strict=False):
        if token == eos:
            text.ended = True
            break
        text.said.append(token)
        if constraint is not None:
            text.state = constraint.advance(text.state, token)
        if token != drafted:
            break
        agreed += 1
    text.fresh = text.said[-1:]
    return agreed


def _groups(counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Neighbouring indices whose counts sum to `most` at most, or a single one of a larger count."""
    group: list[int] = []
    total = 0
    for i, n in enumerate(counts):
        if group and total + n > most:
            yield group
            group, total = [], 0
        group.append(i)
        total += n
    if group:
        yield group
