"""A tokenizer with what training and decoding need of it: prompts and completions as token ids, and back.

Notable choices:
- A prompt starts with the special tokens that the tokenizer itself puts in front (BOS, where it has one) and never ends
  with one; a completion always ends with end-of-sequence, which therefore is a real training target.
- Text is data: "</s>" inside a text is four characters, never the control token.
- Prompt and completion are tokenised apart, so that the prompt's ids do not depend on whether the completion is known.
- A text that is too long is cut at its end; the prompt's suffix and the completion are never cut.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer

from semtune.contracts import PromptParts, TokenizedExample
from semtune.errors import DataError, ModelError, first_line
from semtune.models.quiet import quiet
from semtune.models.token_bytes import token_bytes
from semtune.records import Example

_ANCHOR = "\n"
"""Tokenised in front of a completion where the tokenizer would otherwise put a space before it."""


class FastTokenizer:
    """`contracts.Tokenizer` over a transformers fast hf_tokenizer.

    `vocab_size` is the model's, which may be larger than the tokenizer's. With `fold` the tokenizer is borrowed and may
    be the larger one: ids are taken modulo `vocab_size`, and decoded text then means nothing.

    Raises:
        ModelError: the tokenizer is not a fast one, has no end-of-sequence token, or does not fit the vocabulary.
    """

    def __init__(self, hf_tokenizer: Any, vocab_size: int, *, fold: bool = False) -> None:
        if not getattr(hf_tokenizer, "is_fast", False):
            raise ModelError("The model has no fast tokenizer (hf_tokenizer.json); save one beside its weights.")
        if hf_tokenizer.eos_token_id is None:
            raise ModelError(
                "The model's tokenizer has no end-of-sequence token, so the model could never stop; name one in its "
                "tokenizer_config.json (eos_token)."
            )
        self._backend: BackendTokenizer = hf_tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._fold = self.folded = fold
        self.vocab_size = vocab_size
        self.eos_id = self._fit([int(hf_tokenizer.eos_token_id)])[0]
        self._leading = self._leading_ids()
        self._anchor_ids = self._tokenise(_ANCHOR)

    def encode(self, example: Example, parts: PromptParts, max_length: int, *, completion: bool) -> TokenizedExample:
        """Token ids of the prompt, and of completion + end-of-sequence where `completion`; at most `max_length`.

        Raises:
            DataError: without any of the text the example is still too long, or it has no completion to encode.
        """
        answer: list[int] = []
        if completion:
            if parts.completion is None:
                raise DataError(f'Example "{example.id}" has no labels, so it cannot be trained on; leave it out.')
            answer = [*self._completion_ids(parts.completion), self.eos_id]
        prompt = self._prompt_ids(parts, max_length - len(answer))
        if prompt is None:
            raise DataError(
                f'Example "{example.id}" does not fit into {max_length} tokens even without its text '
                f"({len(answer)} of them are its labels); raise --max-length."
            )
        return TokenizedExample(id=example.id, ids=(*prompt, *answer), prompt_length=len(prompt), target=example.target)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` as in running text, special tokens left out; broken UTF-8 becomes U+FFFD."""
        table = self._table
        known = (table[index] for index in ids if 0 <= index < self.vocab_size)
        return b"".join(piece for piece in known if piece is not None).decode("utf-8", errors="replace")

    def token_bytes(self) -> list[bytes | None]:
        """The bytes each token id stands for, as in running text; None for special tokens. (vocab_size,)"""
        return list(self._table)

    @functools.cached_property
    def _table(self) -> list[bytes | None]:
        return token_bytes(self._backend, self.vocab_size)

    def _leading_ids(self) -> list[int]:
        """The special tokens that the tokenizer puts in front of a text."""
        probe = self._backend.encode("a", add_special_tokens=True)
        count = 0
        for special in probe.special_tokens_mask:
            if not special:
                break
            count += 1
        return self._fit(probe.ids[:count])

    def _tokenise(self, text: str) -> list[int]:
        return self._fit(self._backend.encode(text, add_special_tokens=False).ids)

    def _fit(self, ids: Sequence[int]) -> list[int]:
        if self._fold:
            return [index % self.vocab_size for index in ids]
        if ids and max(ids) >= self.vocab_size:
            raise ModelError(
                f"The tokenizer gives the token id {max(ids)} but the vocabulary ends at {self.vocab_size - 1}; "
                "tokenizer and weights do not belong together."
            )
        return list(ids)

    def _completion_ids(self, completion: str) -> list[int]:
        """Ids of `completion` as the continuation of a text.

        SentencePiece tokenizers put a space before whatever they are given, which would be a second one here. So where
        the ids do not spell the completion, it is tokenised behind an anchor whose ids are then taken off.
        """
        ids = self._tokenise(completion)
        if self._fold or self._spell(ids) == completion.encode():
            return ids
        anchored = self._tokenise(_ANCHOR + completion)
        behind = anchored[len(self._anchor_ids) :]
        if anchored[: len(self._anchor_ids)] == self._anchor_ids and self._spell(behind) == completion.encode():
            return behind
        return ids  # the tokenizer normalises text: no ids spell the completion exactly

    def _spell(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._table[index] or b"" for index in ids)

    def _prompt_ids(self, parts: PromptParts, room: int) -> list[int] | None:
        """Ids of the prompt in at most `room` tokens, its text cut as far as that needs; None: it cannot be done."""
        room -= len(self._leading)
        text = parts.text
        while True:
            encoding = self._backend.encode(parts.prefix + text + parts.suffix, add_special_tokens=False)
            excess = len(encoding.ids) - room
            if excess <= 0:
                return [*self._leading, *self._fit(encoding.ids)]
            if not text:
                return None
            text = _cut(text, len(parts.prefix), encoding.offsets, excess)


def load_tokenizer(
    folder: Path, vocab_size: int, *, fold: bool = False, trust_remote_code: bool = False
) -> FastTokenizer:
    """The tokenizer of the model in `folder`.

    Raises:
        ModelError: the tokenizer's files are missing or broken, or see `FastTokenizer`.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            hf_tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # the Rust library raises bare Exception on a broken hf_tokenizer.json
        raise ModelError(
            f"The tokenizer in {folder} cannot be read ({first_line(error)}); download the model again."
        ) from error
    return FastTokenizer(hf_tokenizer, vocab_size, fold=fold)


def _cut(text: str, text_start: int, offsets: Sequence[tuple[int, int]], excess: int) -> str:
    """`text` without about its last `excess` tokens, at least one character shorter.

    `offsets` are the characters of each token of prefix + text + suffix; the text begins at `text_start`.
    """
    text_end = text_start + len(text)
    starts = [start for start, _ in offsets if text_start <= start < text_end]
    keep = starts[-excess] - text_start if excess <= len(starts) else 0
    return text[: min(keep, len(text) - 1)]
