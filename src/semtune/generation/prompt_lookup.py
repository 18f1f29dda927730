"""Draft tokens for speculative decoding, looked up in an n-gram table (prompt lookup).

Greedy decoding computes one token a forward. Where the next tokens are proposed, one forward over the draft checks
all of them (speculative decoding, Leviathan et al. 2023, arXiv:2211.17192; a table of n-grams in place of a draft
model: Saxena 2023, "prompt lookup decoding"). A draft changes the speed and never the output. The outputs of one task
consist of few pieces, so the table is filled with the labels and with the outputs that are finished already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDER = 6
"""Maximum number of context tokens that a lookup compares."""
MAX_DRAFT_TOKENS = 16
"""Maximum number of tokens of a draft."""
MIN_PROBABILITY = 0.5
"""A draft ends where the probability that all of it is accepted falls below this.

One more token in a forward costs about as much as it saves when it is accepted half of the time.
"""
_START = -1
"""Stands before the first generated token, so that an output's beginning is a context of its own."""


class PromptLookup:
    """An n-gram table of earlier outputs. Proposes what followed the longest context that the table contains."""

    def __init__(self, eos_id: int, known: Sequence[Sequence[int]] = ()) -> None:
        """known: token ids of likely outputs, to begin with."""
        self._eos_id = eos_id
        self._next_tokens: dict[tuple[int, ...], Counter[int]] = {}
        for tokens in known:
            self.learn(tokens)

    def learn(self, tokens: Sequence[int]) -> None:
        """Add a finished output to the table, with its end-of-sequence where it has one."""
        path = [_START, *tokens]
        for at in range(1, len(path)):
            for first in range(max(at - ORDER, 0), at):
                self._next_tokens.setdefault(tuple(path[first:at]), Counter())[path[at]] += 1

    def propose(self, generated_ids: Sequence[int], max_tokens: int) -> list[int]:
        """Up to `max_tokens` probable tokens after `generated_ids`; never end-of-sequence, which nothing follows."""
        path = [_START, *generated_ids][-ORDER:]
        draft: list[int] = []
        probability = 1.0
        while len(draft) < min(max_tokens, MAX_DRAFT_TOKENS):
            token, share = self._likeliest(path)
            probability *= share
            if token == self._eos_id or probability < MIN_PROBABILITY:
                break
            draft.append(token)
            path = [*path, token][-ORDER:]
        return draft

    def _likeliest(self, path: Sequence[int]) -> tuple[int, float]:
        """The token that followed most often and its share; half a count is reserved for unknown tokens."""
        for first in range(len(path)):
            counts = self._next_tokens.get(tuple(path[first:]))
            if counts:
                token, count = counts.most_common(1)[0]
                return token, count / (counts.total() + 0.5)
        return self._eos_id, 0.0
