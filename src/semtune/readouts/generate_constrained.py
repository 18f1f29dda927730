"""Greedy decoding that can only generate valid sets of labels: `generate` with the label automaton as a constraint.

Trained exactly as `generate`; at each step the most probable token among those that keep the answer valid is taken, so
no completion fails to parse.
"""

from __future__ import annotations

from typing import ClassVar

from semtune.contracts import AnswerGrammar, LabelCheck, LoadedModel, Prompt, Tokenizer
from semtune.errors import OptionError
from semtune.generation.constraints import TokenAutomaton, check_spellable, label_constraint
from semtune.readouts.generate import Generate
from semtune.readouts.read_back import check_reads_back
from semtune.records import TargetKind, TargetSpace
from semtune.records.targets import LABEL_KINDS


def check_constrained(readout: str, tokenizer: Tokenizer, prompt: Prompt, space: TargetSpace) -> None:
    """Check that the tokenizer can spell every label, and gives it back. Raises ModelError, OptionError."""
    grammar = prompt.grammar()
    if grammar is not None:
        check_spellable(tokenizer, grammar, name=readout)
    check_reads_back(readout, tokenizer, prompt, space)


class GenerateConstrained(Generate):
    """Generates labels of the task in their fixed order, each at most once, or the words for "none"."""

    name = "generate-constrained"
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS
    needs_grammar = True
    label_check: ClassVar[LabelCheck | None] = staticmethod(check_constrained)
    _automaton: TokenAutomaton | None = None

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: Generate.Settings) -> None:
        """Raises ModelError when the tokenizer cannot spell every label; OptionError for a prompt without a grammar."""
        super().__init__(loaded, prompt, space, settings)
        grammar = prompt.grammar()
        if grammar is None:
            raise OptionError(f'The readout {self.name} needs a prompt with a grammar, which "{prompt.name}" has not.')
        check_spellable(loaded.tokenizer, grammar, name=self.name)
        self._grammar: AnswerGrammar = grammar

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that a valid answer has, end-of-sequence included."""
        return self._constraint().automaton.max_bytes() + 1

    def _constraint(self) -> TokenAutomaton:
        if self._automaton is None:
            self._automaton = label_constraint(self.loaded.tokenizer, self._grammar)
        return self._automaton
