"""A scripted `contracts.StrategyGenerator`: its answers are functions of the prompt's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from semtune.contracts import PromptParts


class Scripted:
    """A prompt's token ids are the code points of its text, so every test can read them back.

    Args:
        write: prompt text -> what greedy decoding generates.
        draw: (prompt text, seed) -> what sampling generates.
        score: (prompt text, completion) -> its log-likelihood in nats.
    """

    def __init__(
        self,
        write: Callable[[str], str] = lambda prompt: "",
        draw: Callable[[str, int], str] = lambda prompt, seed: "",
        score: Callable[[str, str], float] = lambda prompt, completion: 0.0,
    ) -> None:
        self.write, self.draw, self.score = write, draw, score
        self.prompts: list[str] = []
        """Texts of all prompts that the model was run on, in order."""
        self.limits: list[int] = []
        """The limit of every prompt that was encoded with one."""
        self.seeds: list[int] = []
        self.notes: list[dict[str, Any]] = []
        self.sampled_texts: list[str] = []

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        if max_length < 2**31:
            self.limits.append(max_length)
        return tuple(map(ord, parts.prefix + parts.text + parts.suffix))

    def generate(self, prompts, max_new_tokens: int, constraint=None) -> list[str]:
        return [self.write(text) for text in self._asked(prompts)]

    def sample(self, prompts, max_new_tokens: int, *, temperature: float, seeds, stop=None) -> list[str]:
        self.seeds += seeds
        texts = [self.draw(text, seed) for text, seed in zip(self._asked(prompts), seeds, strict=True)]
        self.sampled_texts += texts
        return texts

    def loglikelihood(self, prompts, completions: Sequence[str], *, end: bool = True) -> torch.Tensor:
        ended = [completion + "</s>" * end for completion in completions]
        return torch.tensor([[self.score(text, completion) for completion in ended] for text in self._asked(prompts)])

    def label_constraint(self, grammar) -> str:
        return "constraint"

    def note(self, entry: dict[str, Any]) -> None:
        self.notes.append(entry)

    def _asked(self, prompts) -> list[str]:
        texts = ["".join(map(chr, ids)) for ids in prompts]
        self.prompts += texts
        return texts
