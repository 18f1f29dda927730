"""What a prompting strategy is handed that asks no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class NoModel:
    """A `contracts.StrategyGenerator` that takes notes alone: its strategy says that it uses no model."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        """What the strategy noted of the present example."""
        self.example_id = ""
        self.max_length = 0

    def note(self, entry: Mapping[str, Any]) -> None:
        """As `contracts.StrategyGenerator.note`."""
        self.notes.append(dict(entry))

    def encode(self, parts: Any, max_length: int) -> NoReturn:
        """Raises RuntimeError, as the next five do: there is no model."""
        raise RuntimeError("a strategy without a model called one; its uses_model must be True")

    def generate(self, prompts: Any, max_new_tokens: int, constraint: Any = None) -> NoReturn:
        """Raises RuntimeError."""
        self.encode(prompts, max_new_tokens)

    def sample(
        self, prompts: Any, max_new_tokens: int, *, temperature: float, seeds: Any, stop: Any = None
    ) -> NoReturn:
        """Raises RuntimeError."""
        self.encode(prompts, max_new_tokens)

    def loglikelihood(self, prompts: Any, completions: Any, *, end: bool = True) -> NoReturn:
        """Raises RuntimeError."""
        self.encode(prompts, 0)

    def embed(self, texts: Sequence[str]) -> NoReturn:
        """Raises RuntimeError."""
        self.encode(texts, 0)

    def label_constraint(self, grammar: Any) -> NoReturn:
        """Raises RuntimeError."""
        self.encode(grammar, 0)
