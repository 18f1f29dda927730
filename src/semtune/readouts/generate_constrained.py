"""Greedy decoding that can only say valid sets of labels: `generate` with the label automaton as a constraint.

Trained exactly as `generate`; at each step the most probable token among those that keep the answer valid is taken, so
no completion fails to parse.
"""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import AnswerKind, LoadedModel, Prompt, ReadoutSettings
from semtune.errors import ModelError
from semtune.generation.label_automaton import LabelAutomaton, TokenAutomaton
from semtune.readouts.generate import Generate


class GenerateTrie(Generate):
    """Says labels of the task in their fixed order, each at most once, or that there are none."""

    name = "generate-trie"
    _tokens: TokenAutomaton | None = None

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        labels: Sequence[str],
        answer: AnswerKind,
        settings: ReadoutSettings,
    ) -> None:
        """Raises ModelError when the tokenizer cannot spell every label character by character."""
        super().__init__(loaded, prompt, labels, answer, settings)
        pieces = set(loaded.tokenizer.token_bytes())
        grammar = prompt.grammar()
        for text in (grammar.start, grammar.separator, grammar.none, *grammar.items):
            for character in text:
                spelt = character.encode()
                if spelt not in pieces and not all(bytes([byte]) in pieces for byte in spelt):
                    raise ModelError(
                        f'The model\'s tokenizer cannot spell the "{character}" in "{text}", so {self.name} could get '
                        "stuck; choose the readout generate or head."
                    )

    def _constraint(self) -> TokenAutomaton:
        return self._automaton()

    def _most_tokens(self) -> int:
        return self._automaton().automaton.longest() + 1

    def _automaton(self) -> TokenAutomaton:
        if self._tokens is None:
            tokenizer = self.loaded.tokenizer
            labels = LabelAutomaton(self.prompt.grammar())
            self._tokens = TokenAutomaton(labels, tokenizer.token_bytes(), tokenizer.eos_id)
        return self._tokens
