"""The language of valid answers as an automaton over bytes, and the tokens that keep an answer inside it.

Working on bytes rather than on one tokenisation of each label has two reasons: a tokenizer may join a label's last
character and the delimiter into one token, and a label may hold characters that take several tokens (é). Any way of
spelling a valid answer with the vocabulary is allowed, nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semtune.contracts import AnswerGrammar

Place = tuple[int, int, int]
"""(item, offset in bytes, what follows it): where in the language one reading of the bytes so far stands.

Item -1 is the start text, items 0 … n-1 are labels, item n is "none"; the last number is 0 inside the item's own bytes
and 1 inside the delimiter after it.
"""
State = frozenset[Place]


class LabelAutomaton:
    """Start, then "none" or labels in order, each at most once, joined by the delimiter."""

    def __init__(self, grammar: AnswerGrammar) -> None:
        self._items = [label.encode() for label in grammar.items] + [grammar.none.encode()]
        self._labels = len(grammar.items)
        self._start, self._separator = grammar.start.encode(), grammar.separator.encode()
        self._single = grammar.single

    def start(self) -> State:
        """Nothing said yet."""
        return self._close({(-1, 0, 0)})

    def step(self, state: State, byte: int) -> State:
        """After one more byte; the empty set when no valid answer goes on so."""
        after: set[Place] = set()
        for item, offset, part in state:
            text = self._text(item, part)
            if offset < len(text) and text[offset] == byte:
                after.add((item, offset + 1, part))
        return self._close(after)

    def complete(self, state: State) -> bool:
        """Whether the answer may end here."""
        return any(item >= 0 and part == 0 and offset == len(self._items[item]) for item, offset, part in state)

    def longest(self) -> int:
        """Bytes of the longest answer; no decoding needs more tokens than this and one end-of-sequence."""
        labels = self._items[: self._labels]
        listed = sum(map(len, labels)) + len(self._separator) * len(labels)
        return len(self._start) + max(listed, len(self._items[-1]))

    def _text(self, item: int, part: int) -> bytes:
        if part == 1:
            return self._separator
        return self._start if item == -1 else self._items[item]

    def _close(self, places: set[Place]) -> State:
        """Add what can follow without reading a byte: the start leads to all items, a delimiter to all later ones."""
        closed = set(places)
        todo = list(places)
        while todo:
            item, offset, part = todo.pop()
            if offset < len(self._text(item, part)):
                continue
            following: list[Place] = []
            if item == -1:
                last = self._labels if self._single else self._labels + 1
                following = [(nxt, 0, 0) for nxt in range(last)]
            elif part == 1:
                following = [(nxt, 0, 0) for nxt in range(item + 1, self._labels)]
            elif item < self._labels - 1 and not self._single:
                following = [(item, 0, 1)]
            for place in following:
                if place not in closed:
                    closed.add(place)
                    todo.append(place)
        return frozenset(closed)


class TokenAutomaton:
    """The label automaton driven by a vocabulary: which tokens may come next, remembered per state."""

    def __init__(self, automaton: LabelAutomaton, token_bytes: Sequence[bytes | None], eos_id: int) -> None:
        self.automaton, self._eos_id, self._bytes = automaton, eos_id, token_bytes
        self._trie = _trie((b, i) for i, b in enumerate(token_bytes) if b)
        self._allowed: dict[State, list[int]] = {}

    def start(self) -> State:
        """Nothing said yet."""
        return self.automaton.start()

    def allowed(self, state: State) -> list[int]:
        """Token ids that may follow; never empty in a state that was reached by allowed tokens.

        That holds for every vocabulary that spells each single byte, as byte-level ones do.
        """
        if state not in self._allowed:
            found: list[int] = []
            todo = [(state, self._trie)]
            while todo:
                here, node = todo.pop()
                found += node.tokens
                for byte, child in node.children.items():
                    after = self.automaton.step(here, byte)
                    if after:
                        todo.append((after, child))
            if self.automaton.complete(state):
                found.append(self._eos_id)
            self._allowed[state] = sorted(found)
        return self._allowed[state]

    def advance(self, state: State, token: int) -> State:
        """The state after `token`, which must be an allowed one other than end-of-sequence."""
        for byte in self._bytes[token] or b"":
            state = self.automaton.step(state, byte)
        return state


class _Node:
    __slots__ = ("children", "tokens")

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.tokens: list[int] = []


def _trie(entries: Iterable[tuple[bytes, int]]) -> _Node:
    """Tokens by their bytes."""
    root = _Node()
    for text, token in entries:
        node = root
        for byte in text:
            node = node.children.setdefault(byte, _Node())
        node.tokens.append(token)
    return root
