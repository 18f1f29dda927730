"""A GGUF file's splitting rule is the one it names, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from semtune.errors import ModelError
from semtune.models.gguf_convert import _tokenizer_kind, set_split_rule

from .conftest import byte_level_tokenizer

TEXT = "In 2024 it's 1 day"
GPT2 = ["In", "Ġ2024", "Ġit", "'s", "Ġ1", "Ġday"]
DIGITS = ["In", "Ġ", "2", "0", "2", "4", "Ġit", "'s", "Ġ", "1", "Ġday"]


def pieces(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    return [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("gpt-2", GPT2),
        ("phi-2", GPT2),
        ("olmo", GPT2),
        ("smollm", DIGITS),
        ("starcoder", DIGITS),
        ("command-r", DIGITS),
    ],
)
def test_rules_that_are_known_here(rule: str, expected: list[str]) -> None:
    tokenizer = byte_level_tokenizer()
    set_split_rule(tokenizer, "gpt2", rule)
    assert pieces(tokenizer) == expected


@pytest.mark.parametrize("rule", ["llama-bpe", "qwen2", "tekken"])
def test_rules_that_transformers_has_set_are_left(rule: str) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    before = pieces(tokenizer)
    set_split_rule(tokenizer, "gpt2", rule)
    assert pieces(tokenizer) == before


@pytest.mark.parametrize(
    ("rule", "said"), [("deepseek-coder", 'of the kind "deepseek-coder"'), (None, "does not name")]
)
def test_a_rule_that_nobody_knows_is_refused(rule: str | None, said: str) -> None:
    with pytest.raises(ModelError, match=rf"{said}.*tokenizer\.ggml\.pre.*tokenizer\.json"):
        set_split_rule(byte_level_tokenizer(), "gpt2", rule)


@pytest.mark.parametrize("kind", ["llama", "t5", None])
def test_other_kinds_of_tokenizer_have_no_rule(kind: str | None) -> None:
    set_split_rule(byte_level_tokenizer(), kind, "default")


def test_the_kind_is_read_from_the_file(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("bloom")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert _tokenizer_kind(gguf.GGUFReader(tmp_path / "a.gguf")) == ("gpt2", "bloom")
