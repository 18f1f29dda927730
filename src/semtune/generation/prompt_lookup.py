"""Guesses at what a text will say next, so that one forward can check several tokens at once.

Greedy decoding asks for one token a forward. When the next tokens are guessed, one forward over the guess says for each
of them whether it is what greedy decoding would have said (Leviathan et al. 2023, arXiv:2211.17192; that the draft
comes from a table instead of a small model: Saxena 2023, "prompt lookup decoding"). A guess changes the speed, never
the answer. Answers of one task are made of few pieces, so the table is filled with the labels and with the answers that
are finished already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDER = 6
"""Tokens that a guess looks back, at most."""
LONGEST = 16
"""Tokens of one guess, at most."""
SURE_ENOUGH = 0.5
"""A guess ends where the chance that all of it is right falls below this.

A token more in a forward costs about as much as it saves when it is right half of the time.
"""
_START = -1


class PromptLookup:
    """What followed the last tokens elsewhere: the longest known context decides."""

    def __init__(self, end: int, known: Sequence[Sequence[int]] = ()) -> None:
        """`end`: the end-of-sequence token. `known`: likely answers."""
        self._end = end
        self._after: dict[tuple[int, ...], Counter[int]] = {}
        for tokens in known:
            self.learn(tokens)

    def learn(self, tokens: Sequence[int]) -> None:
        """Note a finished answer, with its end-of-sequence where it has one."""
        path = [_START, *tokens]
        for at in range(1, len(path)):
            for first in range(max(at - ORDER, 0), at):
                self._after.setdefault(tuple(path[first:at]), Counter())[path[at]] += 1

    def guess(self, said: Sequence[int], room: int) -> list[int]:
        """Up to `room` tokens that probably come after `said`; never end-of-sequence, which nothing follows."""
        path = [_START, *said][-ORDER:]
        guessed: list[int] = []
        chance = 1.0
        while len(guessed) < min(room, LONGEST):
            token, share = self._likeliest(path)
            chance *= share
            if token == self._end or chance < SURE_ENOUGH:
                break
            guessed.append(token)
            path = [*path, token][-ORDER:]
        return guessed

    def _likeliest(self, path: Sequence[int]) -> tuple[int, float]:
        """The token that followed most often, and its share; half a count is kept for what was never seen."""
        for first in range(len(path)):
            seen = self._after.get(tuple(path[first:]))
            if seen:
                token, count = seen.most_common(1)[0]
                return token, count / (seen.total() + 0.5)
        return self._end, 0.0
