"""An tokenizer for plans where no tokenizer is at hand: it counts tokens and means nothing."""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import PromptParts, TokenizedExample
from semtune.records import Example

BYTES_PER_TOKEN = 4
"""Average of English text in the usual vocabularies."""


class ApproximateTokenizer:
    """`contracts.Tokenizer` whose ids are all 0."""

    eos_id = 1
    folded = True

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.cut_tokens: dict[str, int] = {}

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """So many ids as the text's bytes suggest, at most `max_length`."""
        answer = _tokens(parts.completion or "") + 1 if completion else 0
        prompt = min(_tokens(parts.prefix + parts.text + parts.suffix), max(1, max_length - answer))
        return TokenizedExample(example.id, (0,) * (prompt + answer), prompt, example.target)

    def decode(self, ids: Sequence[int]) -> str:
        """Nothing."""
        return ""

    def token_bytes(self) -> list[bytes | None]:
        """The 256 bytes, then nothing."""
        return [bytes([i]) if i < 256 else None for i in range(self.vocab_size)]


def _tokens(text: str) -> int:
    return max(1, -(-len(text.encode()) // BYTES_PER_TOKEN))
