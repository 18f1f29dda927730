"""Constrained decoding: an automaton over the bytes of valid answers, and the tokens that stay inside it.

The automaton reads bytes, not one tokenisation of each label, for two reasons: a tokenizer may join a label's last
character and the delimiter into one token, and a label may contain characters of several tokens (é). Every spelling of
a valid answer by the vocabulary is allowed, nothing else is. (As in Willard & Louf 2023, arXiv:2307.09702.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semtune.contracts import AnswerGrammar, Tokenizer
from semtune.errors import ModelError

Position = tuple[int, int, int]
"""(item, offset in bytes, part): a state of the nondeterministic automaton, one reading of the bytes so far.

Item -1 is the start text, items 0 … n-1 are labels, item n is "none". Part 0 is the item's own bytes, part 1 the
delimiter after it, part 2 the text that ends the answer.
"""
State = frozenset[Position]
"""A state of the deterministic automaton: the set of all readings of the bytes so far."""


class LabelAutomaton:
    """A byte automaton of `AnswerGrammar`: start, "none" or labels in order, each once at most, delimited; then end."""

    def __init__(self, grammar: AnswerGrammar) -> None:
        self._items = [label.encode() for label in grammar.items] + [grammar.none.encode()]
        self._labels = len(grammar.items)
        self._start, self._separator = grammar.start.encode(), grammar.separator.encode()
        self._single, self._end = grammar.single, grammar.end.encode()

    def start(self) -> State:
        """The state before the first byte."""
        return self._close({(-1, 0, 0)})

    def step(self, state: State, byte: int) -> State:
        """The state after one more byte; the empty set where no valid answer begins with these bytes."""
        after: set[Position] = set()
        for item, offset, part in state:
            text = self._text(item, part)
            if offset < len(text) and text[offset] == byte:
                after.add((item, offset + 1, part))
        return self._close(after)

    def complete(self, state: State) -> bool:
        """Whether the answer may end here."""
        return any(item >= 0 and part == 2 and offset == len(self._end) for item, offset, part in state)

    def max_bytes(self) -> int:
        """Upper bound of the bytes of an answer; decoding needs at most that many tokens and one end-of-sequence."""
        labels = self._items[: self._labels]
        listed = sum(map(len, labels)) + len(self._separator) * len(labels)
        return len(self._start) + max(listed, len(self._items[-1])) + len(self._end)

    def _text(self, item: int, part: int) -> bytes:
        """The bytes that a position is within."""
        if part:
            return self._separator if part == 1 else self._end
        return self._start if item == -1 else self._items[item]

    def _close(self, positions: set[Position]) -> State:
        """The epsilon closure: items after the start text, later labels after a delimiter, delimiters, and the end."""
        closed = set(positions)
        todo = list(positions)
        while todo:
            item, offset, part = todo.pop()
            if offset < len(self._text(item, part)):
                continue
            following: list[Position] = []
            if item == -1:
                last = self._labels if self._single else self._labels + 1
                following = [(nxt, 0, 0) for nxt in range(last)]
            elif part == 1:
                following = [(nxt, 0, 0) for nxt in range(item + 1, self._labels)]
            elif part == 0:
                following = [(item, 0, 2)]
                if item < self._labels - 1 and not self._single:
                    following.append((item, 0, 1))
            for position in following:
                if position not in closed:
                    closed.add(position)
                    todo.append(position)
        return frozenset(closed)


class TokenAutomaton:
    """Implements `contracts.Constraint` by a label automaton and a vocabulary; allowed tokens are cached per state."""

    def __init__(self, automaton: LabelAutomaton, token_bytes: Sequence[bytes | None], eos_id: int) -> None:
        self.automaton, self._eos_id, self._bytes = automaton, eos_id, token_bytes
        self._trie = _trie((b, i) for i, b in enumerate(token_bytes) if b)
        self._allowed: dict[State, list[int]] = {}

    def start(self) -> State:
        """The state before the first token."""
        return self.automaton.start()

    def allowed(self, state: State) -> list[int]:
        """Token ids that may follow, ascending; never empty in a state that allowed tokens led to.

        That needs a vocabulary that spells each single byte, as byte-level ones do; `check_spellable` checks it.
        """
        if state not in self._allowed:
            found: list[int] = []
            todo = [(state, self._trie)]  # the state after the bytes of each trie node
            while todo:
                current, node = todo.pop()
                found += node.tokens
                for byte, child in node.children.items():
                    after = self.automaton.step(current, byte)
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


def label_constraint(tokenizer: Tokenizer, grammar: AnswerGrammar) -> TokenAutomaton:
    """The constraint that exactly the answers of `grammar` satisfy; `check_spellable` says where none is possible."""
    return TokenAutomaton(LabelAutomaton(grammar), tokenizer.token_bytes(), tokenizer.eos_id)


def check_spellable(tokenizer: Tokenizer, grammar: AnswerGrammar, *, name: str) -> None:
    """Raise ModelError where the tokenizer cannot spell the answers character by character. `name`: for the message."""
    pieces = set(tokenizer.token_bytes())
    for text in (grammar.start, grammar.separator, grammar.none, grammar.end, *grammar.items):
        for character in text:
            spelt = character.encode()
            if spelt not in pieces and not all(bytes([byte]) in pieces for byte in spelt):
                raise ModelError(
                    f'The model\'s tokenizer cannot spell the "{character}" in "{text}", so {name} could get '
                    "stuck; choose the readout generate or head."
                )


class _Node:
    """A trie node: its children by byte, and the ids of the tokens whose bytes end here."""

    __slots__ = ("children", "tokens")

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.tokens: list[int] = []


def _trie(entries: Iterable[tuple[bytes, int]]) -> _Node:
    """A trie (prefix tree) of (bytes, token id) pairs; its root."""
    root = _Node()
    for text, token in entries:
        node = root
        for byte in text:
            node = node.children.setdefault(byte, _Node())
        node.tokens.append(token)
    return root
