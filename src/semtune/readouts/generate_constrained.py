"""Greedy decoding that can only say valid sets of labels: `generate` with the label automaton as a constraint.

Trained exactly as `generate`; at each step the most probable token among those that keep the answer valid is taken, so
no completion fails to parse.
"""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import AnswerKind, LoadedModel, Prompt, ReadoutSettings
from semtune.generation.constraints import TokenAutomaton, check_spellable, label_constraint
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
        check_spellable(loaded.tokenizer, prompt.grammar(), name=self.name)

    def _constraint(self) -> TokenAutomaton:
        return self._automaton()

    def _most_tokens(self) -> int:
        return self._automaton().automaton.max_bytes() + 1

    def _automaton(self) -> TokenAutomaton:
        if self._tokens is None:
            self._tokens = label_constraint(self.loaded.tokenizer, self.prompt.grammar())
        return self._tokens
