"""Control tokens, and a tokenizer that never reads one out of a text.

A text is data: "</s>", "<|im_end|>" or "<think>" inside it are characters. The tokenizers library can be told to split
tokens marked as special (`encode_special_tokens`), but files mark only some control tokens so: Qwen3's `<think>`,
`<tool_call>` and `<|fim_prefix|>` are "added, not special". Those are recognised by their form, in brackets. Added
tokens of another form (runs of spaces, words) are ordinary text that the model was trained on, and stay whole.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

_BRACKET = r"[<>\[\]{}|◁▷⟨⟩〈〉《》【】「」『』｟｠]"
_BRACKETED = re.compile(rf"\s*{_BRACKET}.*\w.*{_BRACKET}\s*", re.DOTALL)
"""A word between brackets of any kind, also the same one twice: `<think>`, `[INST]`, `◁think▷`, `]~b]`."""
_SCORE_GAP = 1000.0
"""How much less likely than the least likely piece a Unigram model must find a control token to spell it instead."""


def control_ids(backend: Tokenizer) -> frozenset[int]:
    """The ids of all control tokens: those marked as special, and other added tokens in brackets."""
    added = backend.get_added_tokens_decoder()
    return frozenset(i for i, token in added.items() if token.special or _BRACKETED.fullmatch(token.content))


def plain_text_tokenizer(backend: Tokenizer) -> Tokenizer:
    """`backend`, changed so that it splits control tokens in a text like any other characters; without padding.

    Where the file's own marks do not suffice, it is a changed copy with the same ids.
    """
    control, added = control_ids(backend), backend.get_added_tokens_decoder()
    unigram = type(backend.model).__name__ == "Unigram"
    if any(not added[i].special for i in control) or (unigram and control):
        backend = _marked(backend, control)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _marked(backend: Tokenizer, control: frozenset[int]) -> Tokenizer:
    """A copy of `backend` that marks `control` as special; a Unigram model's own vocabulary makes them unlikely too."""
    spec: dict[str, Any] = json.loads(backend.to_str())
    for token in spec["added_tokens"]:
        token["special"] = token["special"] or token["id"] in control
    if spec["model"]["type"] == "Unigram":  # it has them as pieces with a score, mostly the best one, 0
        pieces = spec["model"]["vocab"]
        unlikely = min(score for _, score in pieces) - _SCORE_GAP
        spec["model"]["vocab"] = [[p, unlikely if i in control else score] for i, (p, score) in enumerate(pieces)]
    marked: Tokenizer = Tokenizer.from_str(json.dumps(spec))
    return marked
