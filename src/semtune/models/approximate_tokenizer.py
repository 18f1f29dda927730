"""A tokenizer for plans where no tokenizer is at hand: it counts tokens and means nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from semtune.contracts import PromptParts, TokenizedExample
from semtune.records import Example

BYTES_PER_TOKEN = 4
"""Average of English text in the usual vocabularies."""


class ApproximateTokenizer:
    """`contracts.Tokenizer` whose ids are checksums: texts that begin alike have ids that begin alike."""

    eos_id = 1
    folded = True

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.cut_tokens: dict[str, int] = {}

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """One id for each `BYTES_PER_TOKEN` bytes of the text, at most `max_length`."""
        answer = (*self._ids(parts.completion or ""), self.eos_id) if completion else ()
        prompt = self._ids(parts.prefix + parts.text + parts.suffix)[: max(1, max_length - len(answer))]
        return TokenizedExample(example.id, (*prompt, *answer), len(prompt), example.target)

    def decode(self, ids: Sequence[int]) -> str:
        """Nothing."""
        return ""

    def token_bytes(self) -> list[bytes | None]:
        """The 256 bytes, then nothing."""
        return [bytes([i]) if i < 256 else None for i in range(self.vocab_size)]

    def _ids(self, text: str) -> tuple[int, ...]:
        """Ids of a text, one at least; none is end-of-sequence, which is the second id."""
        data = text.encode() or b" "
        pieces = (data[i : i + BYTES_PER_TOKEN] for i in range(0, len(data), BYTES_PER_TOKEN))
        return tuple(2 + zlib.crc32(piece) % (self.vocab_size - 2) for piece in pieces)
