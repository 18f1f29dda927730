"""A tokenizer with what training and decoding need of it: prompts and completions as token ids, and back.

Notable choices:
- A prompt starts with the special tokens that the tokenizer itself puts in front (BOS, where it has one) and never ends
  with one; a completion always ends with end-of-sequence, which therefore is a real training target.
- Text is data: "</s>" inside a text is four characters, never the control token (`control_tokens`); so it is in labels
  and in the prompt's markers.
- The end-of-sequence token may come from the model's config where the tokenizer names none; where neither does, only
  what needs one is refused: completions and generating.
- Prompt and completion are tokenised apart, so that the prompt's ids do not depend on whether the completion is known.
- A text that is too long is cut at its end; the prompt's suffix and the completion are never cut.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as BackendTokenizer

from semtune.contracts import PromptParts, TokenizedExample
from semtune.errors import DataError, ModelError, PromptTooLongError, first_line
from semtune.models.control_tokens import control_ids, plain_text_tokenizer
from semtune.models.quiet import quiet
from semtune.models.token_bytes import token_bytes
from semtune.records import Example

_NONCHARACTER = "\U0010fffe"
"""A character that is in no vocabulary: its ids are those of an unknown character."""
_ANCHOR = "\n"
"""Tokenised in front of a completion where the tokenizer would otherwise put a space before it."""


class FastTokenizer:
    """`contracts.Tokenizer` over a transformers fast hf_tokenizer.

    `vocab_size` is the model's, which may be larger than the tokenizer's. With `fold` the tokenizer is borrowed and may
    be the larger one: ids are taken modulo `vocab_size`, and decoded text then means nothing.

    Args:
        config_eos_id: the end-of-sequence token of the model's config, for a tokenizer that names none.

    Raises:
        ModelError: the tokenizer is not a fast one, or does not fit the vocabulary.
    """

    def __init__(
        self, hf_tokenizer: Any, vocab_size: int, *, fold: bool = False, config_eos_id: int | None = None
    ) -> None:
        if not getattr(hf_tokenizer, "is_fast", False):
            raise ModelError("The model has no fast tokenizer (hf_tokenizer.json); save one beside its weights.")
        self._fold = self.folded = fold
        self.vocab_size = vocab_size
        self.cut_tokens: dict[str, int] = {}
        named = hf_tokenizer.eos_token_id if hf_tokenizer.eos_token_id is not None else config_eos_id
        self._eos_id = None if named is None else self._fit([int(named)])[0]
        self._original: BackendTokenizer = hf_tokenizer.backend_tokenizer
        self._control_ids = control_ids(self._original)
        self._backend = plain_text_tokenizer(self._original)
        unknown = self._backend.encode(_NONCHARACTER, add_special_tokens=False).ids
        self._never_in_text = self._control_ids - {hf_tokenizer.unk_token_id, *unknown}
        self._leading = self._leading_ids()
        self._anchor_ids = self._tokenise(_ANCHOR)

    @property
    def eos_id(self) -> int:
        """The end-of-sequence token. Raises ModelError where neither tokenizer nor config names one."""
        if self._eos_id is None:
            raise ModelError(
                "The model's tokenizer has no end-of-sequence token, so the model could never stop; name one in its "
                "tokenizer_config.json (eos_token), or choose the readout head, which needs none."
            )
        return self._eos_id

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
        prompt, cut = self._prompt_ids(parts, max_length - len(answer))
        if prompt is None:
            raise PromptTooLongError(
                f'Example "{example.id}" does not fit into {max_length} tokens even without its text '
                f"({len(answer)} of them are its labels); raise --max-length."
            )
        if cut:
            self.cut_tokens[example.id] = max(cut, self.cut_tokens.get(example.id, 0))
        return TokenizedExample(id=example.id, ids=(*prompt, *answer), prompt_length=len(prompt), target=example.target)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` as in running text, special tokens left out; broken UTF-8 becomes U+FFFD."""
        table = self._table
        known = (table[index] for index in ids if 0 <= index < self.vocab_size)
        return b"".join(piece for piece in known if piece is not None).decode("utf-8", errors="replace")

    def token_bytes(self) -> list[bytes | None]:
        """The bytes each token id stands for, as in running text; None for control tokens. (vocab_size,)"""
        return [None if index in self._control_ids else piece for index, piece in enumerate(self._table)]

    @functools.cached_property
    def _table(self) -> list[bytes | None]:
        return token_bytes(self._original, self.vocab_size)

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
        return self._text_ids(self._backend.encode(text, add_special_tokens=False).ids)

    def _text_ids(self, ids: Sequence[int]) -> list[int]:
        """`ids` of a text, checked and fitted. Raises DataError for one that this tokenizer cannot read as text."""
        if not self._never_in_text.isdisjoint(ids):
            found = next(index for index in ids if index in self._never_in_text)
            raise DataError(
                f'A text holds "{self._original.id_to_token(found)}", which this model\'s tokenizer can only read as a '
                "control token; remove it from the text."
            )
        return self._fit(ids)

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

    def _prompt_ids(self, parts: PromptParts, room: int) -> tuple[list[int] | None, int]:
        """Ids of the prompt in at most `room` tokens, and how many tokens of its text were cut for that.

        None in place of the ids: it cannot be done.
        """
        room -= len(self._leading)
        text, whole = parts.text, 0
        while True:
            encoding = self._backend.encode(parts.prefix + text + parts.suffix, add_special_tokens=False)
            excess = len(encoding.ids) - room
            whole = whole or len(encoding.ids)
            if excess <= 0:
                return [*self._leading, *self._text_ids(encoding.ids)], whole - len(encoding.ids)
            if not text:
                return None, 0
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
        if not trust_remote_code and "trust_remote_code" in str(error):
            raise ModelError(
                f"The tokenizer in {folder} brings Python code of its own (auto_map); read that code, then allow it "
                "with --trust-remote-code."
            ) from error
        raise ModelError(
            f"The tokenizer in {folder} cannot be read ({first_line(error)}); download the model again."
        ) from error
    return FastTokenizer(hf_tokenizer, vocab_size, fold=fold, config_eos_id=_config_eos_id(folder, vocab_size))


def _config_eos_id(folder: Path, vocab_size: int) -> int | None:
    """The first end-of-sequence token that the model's config.json or generation_config.json states itself."""
    for name in ("config.json", "generation_config.json"):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for part in (config, config.get("text_config")) if isinstance(config, dict) else ():
            stated = part.get("eos_token_id") if isinstance(part, dict) else None
            first = stated[0] if isinstance(stated, list) and stated else stated
            if isinstance(first, int) and 0 <= first < vocab_size:
                return first
    return None


def _cut(text: str, text_start: int, offsets: Sequence[tuple[int, int]], excess: int) -> str:
    """`text` without about its last `excess` tokens, at least one character shorter.

    `offsets` are the characters of each token of prefix + text + suffix; the text begins at `text_start`.
    """
    text_end = text_start + len(text)
    starts = [start for start, _ in offsets if text_start <= start < text_end]
    keep = starts[-excess] - text_start if excess <= len(starts) else 0
    return text[: min(keep, len(text) - 1)]
