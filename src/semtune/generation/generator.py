"""Text out of a loaded model for prompting strategies: `contracts.Generator`."""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import AnswerGrammar, Constraint, LoadedModel, PromptParts
from semtune.generation.greedy import greedy
from semtune.generation.label_automaton import LabelAutomaton, TokenAutomaton
from semtune.records import Example

NO_LIMIT = 2**31
"""Tokens that a prompt given as text may have."""


class Generator:
    """Greedy completions, free or under a constraint."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The greedy completion of each prompt, special tokens left out; at most `max_new_tokens` tokens each."""
        ids = [self._ids(prompt) for prompt in prompts]
        completions = greedy(self.loaded, ids, max_new_tokens, constraint)
        return [self.loaded.tokenizer.decode(completion) for completion in completions]

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """The constraint that only valid answers of `grammar` satisfy."""
        tokenizer = self.loaded.tokenizer
        return TokenAutomaton(LabelAutomaton(grammar), tokenizer.token_bytes(), tokenizer.eos_id)

    def _ids(self, prompt: str | Sequence[int]) -> Sequence[int]:
        if not isinstance(prompt, str):
            return prompt
        parts = PromptParts("", prompt, "", None)
        return self.loaded.tokenizer.encode(Example("a prompt", prompt, None), parts, NO_LIMIT, completion=False).ids
