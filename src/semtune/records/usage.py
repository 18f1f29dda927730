"""What predicting with prompts used: requests, tokens and money."""

from __future__ import annotations

from dataclasses import dataclass

from semtune.records.quantities import Count, Money


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals over all texts that a run predicted, dev and test together.

    Answers that were kept from before count like new ones, as they are part of what the strategy costs.
    """

    texts: Count = 0
    requests: Count = 0
    """Model calls: a prompt, or a prompt with a completion to score."""
    kept_requests: Count = 0
    """How many of them were answered from the cache, without the server."""
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    uncounted_requests: Count = 0
    """Requests whose tokens the server did not tell."""
    cost: Money | None = None
    """Of all tokens, kept ones included, in `currency`; None: without prices."""
    currency: str | None = None

    @property
    def prompt_tokens_per_text(self) -> float | None:
        """Mean tokens that go in per text; None without texts."""
        return self.prompt_tokens / self.texts if self.texts else None

    @property
    def completion_tokens_per_text(self) -> float | None:
        """Mean tokens that come out per text; None without texts."""
        return self.completion_tokens / self.texts if self.texts else None
