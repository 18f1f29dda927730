"""Prompts and completions as token ids, and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from semtune.contracts import PromptParts
from semtune.errors import DataError, ModelError
from semtune.models.token_bytes import byte_alphabet
from semtune.models.tokenizer import FastTokenizer
from semtune.records import Example, LabelSet

from .conftest import byte_level_tokenizer, sentence_piece_tokenizer

BYTE_LEVEL = FastTokenizer(byte_level_tokenizer(), 330)
BYTE_LEVEL_BOS = FastTokenizer(byte_level_tokenizer(bos=True), 330)
SENTENCE_PIECE = FastTokenizer(sentence_piece_tokenizer(), 330)
ENCODERS = [
    pytest.param(BYTE_LEVEL, id="byte-level"),
    pytest.param(BYTE_LEVEL_BOS, id="byte-level-bos"),
    pytest.param(SENTENCE_PIECE, id="sentence-piece"),
]
any_text = st.text(max_size=40) | st.text(alphabet="the quick é—▁Ġ</s>\n0", max_size=60)


def example(text: str) -> Example:
    return Example(id="x7", text=text, target=LabelSet(("Smears",)))


def spelt(tokenizer: FastTokenizer, text: str) -> bytes:
    """The text as the tokenizer's ids spell it: SentencePiece puts a space in front, and has none of its own sign."""
    return (" " + text.replace("▁", " ") if tokenizer is SENTENCE_PIECE and text else text).encode()


@pytest.mark.parametrize("tokenizer", ENCODERS)
@given(text=any_text)
@settings(max_examples=150, deadline=None)
def test_token_bytes_of_a_text_join_to_the_text(tokenizer: FastTokenizer, text: str) -> None:
    tokenized = tokenizer.encode(example(text), PromptParts("", text, "", None), 500, completion=False)
    table = tokenizer.token_bytes()
    assert len(table) == tokenizer.vocab_size
    assert b"".join(table[index] or b"" for index in tokenized.ids) == spelt(tokenizer, text)
    assert tokenizer.decode(tokenized.ids).encode() == spelt(tokenizer, text)


@pytest.mark.parametrize("tokenizer", ENCODERS)
@given(text=any_text, completion=any_text.filter(lambda t: "▁" not in t))
@settings(max_examples=150, deadline=None)
def test_prompt_and_completion_concatenate(tokenizer: FastTokenizer, text: str, completion: str) -> None:
    parts = PromptParts("say ", text, " <tech:>", completion)
    trained = tokenizer.encode(example(text), parts, 1000, completion=True)
    asked = tokenizer.encode(example(text), parts, 1000, completion=False)
    assert trained.ids[: trained.prompt_length] == asked.ids  # training and predicting see the same prompt
    assert trained.ids[-1] == tokenizer.eos_id
    assert tokenizer.eos_id not in trained.ids[:-1]  # "</s>" in a text is text
    assert tokenizer.decode(trained.ids[trained.prompt_length :]) == completion
    assert tokenizer.decode(trained.ids).encode() == spelt(tokenizer, f"say {text} <tech:>") + completion.encode()


@pytest.mark.parametrize("tokenizer", ENCODERS)
@given(text=any_text, max_length=st.integers(24, 60))
@settings(max_examples=200, deadline=None)
def test_only_the_end_of_the_text_is_cut(tokenizer: FastTokenizer, text: str, max_length: int) -> None:
    parts = PromptParts("p ", text * 3, " <te>", " the")
    tokenized = tokenizer.encode(example(text), parts, max_length, completion=True)
    assert len(tokenized) <= max_length
    prompt = tokenizer.decode(tokenized.ids[: tokenized.prompt_length]).encode()
    start, end = spelt(tokenizer, "p "), b" <te>"
    assert prompt.startswith(start)
    assert prompt.endswith(end)
    kept = prompt[len(start) : len(prompt) - len(end)]
    assert (text * 3).replace("▁", " " if tokenizer is SENTENCE_PIECE else "▁").encode().startswith(kept)
    assert tokenizer.decode(tokenized.ids[tokenized.prompt_length :]) == " the"


def test_a_cut_text_uses_the_room_it_has() -> None:
    parts = PromptParts("", "x" * 100, " <tech:>", " the")
    full = BYTE_LEVEL.encode(example(""), parts, 500, completion=True)
    for max_length in range(40, len(full), 7):
        assert len(BYTE_LEVEL.encode(example(""), parts, max_length, completion=True)) == max_length


@pytest.mark.parametrize("tokenizer", ENCODERS)
def test_cut_tokens_are_counted_by_example(tokenizer: FastTokenizer) -> None:
    parts = PromptParts("", "some text of many words " * 5, " <tech:>", " the")
    full = len(tokenizer.encode(example(""), parts, 500, completion=True))
    tokenizer.cut_tokens.clear()
    tokenizer.encode(example(""), parts, full, completion=True)
    assert tokenizer.cut_tokens == {}
    short = len(tokenizer.encode(example(""), parts, 40, completion=True))
    assert tokenizer.cut_tokens == {example("").id: full - short}
    tokenizer.encode(example(""), parts, 44, completion=True)  # the same example again: what was cut most
    assert tokenizer.cut_tokens == {example("").id: full - short}


@pytest.mark.parametrize("tokenizer", ENCODERS)
def test_what_does_not_fit_without_its_text(tokenizer: FastTokenizer) -> None:
    parts = PromptParts("", "some text", " <tech:>", " the quick brown fox")
    with pytest.raises(DataError, match=r'"x7" does not fit into 5 tokens .*--max-length'):
        tokenizer.encode(example("some text"), parts, 5, completion=True)
    with pytest.raises(DataError, match='"x7" has no labels'):
        tokenizer.encode(example(""), PromptParts("", "a", "b", None), 50, completion=True)


def test_special_tokens() -> None:
    parts = PromptParts("", "the", "", " fox")
    assert BYTE_LEVEL.encode(example("the"), parts, 50, completion=False).ids[0] != 1
    for tokenizer in (BYTE_LEVEL_BOS, SENTENCE_PIECE):
        tokenized = tokenizer.encode(example("the"), parts, 50, completion=True)
        assert tokenized.ids[0] == 1  # BOS in front, and the EOS that this tokenizer would add is not there
        assert tokenized.ids.count(2) == 1
        assert tokenizer.token_bytes()[:3] == [None, None, None]


def test_sentence_piece_completion_has_no_second_space() -> None:
    assert SENTENCE_PIECE.decode(SENTENCE_PIECE._completion_ids("the")) == "the"
    assert SENTENCE_PIECE.decode(SENTENCE_PIECE._completion_ids(" the")) == " the"


def test_broken_utf8_is_replaced() -> None:
    table = BYTE_LEVEL.token_bytes()
    first_byte_of_e_acute = table.index("é".encode()[:1])
    assert BYTE_LEVEL.decode([first_byte_of_e_acute]) == "\ufffd"
    assert BYTE_LEVEL.decode([329]) == ""  # a row of the embedding that no token has


def test_the_byte_alphabet_is_the_librarys() -> None:
    alphabet = byte_alphabet()
    assert sorted(alphabet) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    assert alphabet["Ġ"] == ord(" ")
    assert alphabet["Ċ"] == ord("\n")


def test_folding_into_a_smaller_vocabulary() -> None:
    tokenizer = FastTokenizer(byte_level_tokenizer(), 40, fold=True)
    tokenized = tokenizer.encode(example("the"), PromptParts("", "the quick", "", " fox"), 60, completion=True)
    assert max(tokenized.ids) < 40
    assert len(tokenizer.token_bytes()) == 40
    with pytest.raises(ModelError, match="do not belong together"):
        FastTokenizer(byte_level_tokenizer(), 40).encode(
            example("the"), PromptParts("", "the quick", "", None), 60, completion=False
        )


def test_tokenizers_that_cannot_be_used() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    with pytest.raises(ModelError, match="end-of-sequence"):
        _ = FastTokenizer(PreTrainedTokenizerFast(tokenizer_object=words), 2).eos_id
    with pytest.raises(ModelError, match="neither byte-level"):
        FastTokenizer(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"), 2).token_bytes()
    with pytest.raises(ModelError, match="fast tokenizer"):
        FastTokenizer(object(), 2)


def test_the_contract() -> None:
    tokenizer: Tokenizer = BYTE_LEVEL
    assert tokenizer.eos_id == 2
