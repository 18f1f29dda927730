"""The bytes that each token of a transformers fast tokenizer stands for, as in running text.

Two kinds of tokenizer are understood: byte-level BPE, whose vocabulary is spelt in GPT-2's alphabet of printable
stand-ins for the 256 bytes (Radford et al. 2019), and the SentencePiece kind, where "▁" is a space and "<0xE9>" a byte
(Kudo & Richardson 2018).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

from semtune.errors import ModelError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(backend: Tokenizer, vocab_size: int) -> list[bytes | None]:
    """The bytes of each id below `vocab_size`; None for special tokens and for ids that no token has.

    Raises:
        ModelError: the tokenizer is of neither kind.
    """
    spec = json.loads(backend.to_str())
    kinds = set(_component_kinds(spec.get("decoder"))) | set(_component_kinds(spec.get("pre_tokenizer")))
    if "ByteLevel" in kinds:
        decode = _byte_level
    elif "Metaspace" in kinds or "▁" in json.dumps(spec.get("decoder"), ensure_ascii=False):
        decode = _sentence_piece
    else:
        raise ModelError(
            "The model's tokenizer is neither byte-level BPE nor SentencePiece, so semtune cannot tell which bytes its "
            "tokens stand for; choose another model."
        )
    table: list[bytes | None] = [None] * vocab_size
    added = backend.get_added_tokens_decoder()
    for token, index in backend.get_vocab(with_added_tokens=True).items():
        if index >= vocab_size:
            continue
        if index in added:
            table[index] = None if added[index].special else token.encode()
        else:
            table[index] = decode(token)
    return table


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """GPT-2's stand-in character of each byte, the other way round: character → byte.

    Bytes that print as themselves in Latin-1 stand for themselves; the others take the characters from U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _byte_level(token: str) -> bytes:
    alphabet = byte_alphabet()
    if any(character not in alphabet for character in token):
        return token.encode()  # put into the vocabulary by hand
    return bytes(alphabet[character] for character in token)


def _sentence_piece(token: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match.group(1), 16)])
    return token.replace("▁", " ").encode()


def _component_kinds(component: Any) -> Iterator[str]:
    """The "type" of a component of tokenizer.json and of all components inside it."""
    if isinstance(component, dict):
        if isinstance(component.get("type"), str):
            yield component["type"]
        for value in component.values():
            yield from _component_kinds(value)
    elif isinstance(component, list):
        for value in component:
            yield from _component_kinds(value)
