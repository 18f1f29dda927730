"""Control tokens inside a text are characters, whatever the tokenizer's file says about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from semtune.contracts import PromptParts
from semtune.errors import DataError, ModelError
from semtune.models.control_tokens import control_ids
from semtune.models.tokenizer import FastTokenizer, load_tokenizer
from semtune.records import Example, LabelSet

from .conftest import byte_level_tokenizer, sentence_piece_tokenizer

CONTROL = ["<think>", "</think>", "<|im_end|>", "<|fim_prefix|>", "[INST]", "<tech:>", "◁think▷", "]~b]"]
TEXT_TOKENS = ["   ", "semtune", "\n\n", "<=>", "@user"]
SIZE = 400


def with_added(hf_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Qwen3's habit: added tokens in brackets, most of them not marked as special; and added tokens that are text."""
    hf_tokenizer.add_tokens([AddedToken(t, special=t == "<|im_end|>", normalized=False) for t in CONTROL + TEXT_TOKENS])
    return hf_tokenizer


def unigram() -> PreTrainedTokenizerFast:
    """T5's kind: the control tokens are pieces of the model's own vocabulary, with the best score."""
    letters = [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz</>|[]_:IES.NTV▁◁▷~"]
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *letters, ("▁the", -2.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="never")
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


KINDS = {
    "byte-level": lambda: with_added(byte_level_tokenizer()),
    "byte-level-bos": lambda: with_added(byte_level_tokenizer(bos=True)),
    "sentence-piece": lambda: with_added(sentence_piece_tokenizer()),
    "unigram": lambda: with_added(unigram()),
}
TOKENIZERS = {name: FastTokenizer(make(), SIZE) for name, make in KINDS.items()}
any_text = st.lists(st.sampled_from([*CONTROL, "</s>", "<s>", "the ", "a", "<", ">", "think", "|"]), max_size=8).map(
    "".join
)


def example(text: str) -> Example:
    return Example("x", text, LabelSet(()))


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=any_text, completion=any_text)
@settings(max_examples=60, deadline=None)
def test_no_control_token_comes_out_of_a_text_a_marker_or_a_label(kind: str, text: str, completion: str) -> None:
    tokenizer = TOKENIZERS[kind]
    control = control_ids(KINDS[kind]().backend_tokenizer)
    parts = PromptParts("<think>", text, " <tech:>", " " + completion)
    tokenized = tokenizer.encode(example(text), parts, 1000, completion=True)
    leading = 1 if "bos" in kind or kind == "sentence-piece" else 0
    assert control.isdisjoint(tokenized.ids[leading:-1])
    assert tokenized.ids[-1] == tokenizer.eos_id
    space = " " if kind == "sentence-piece" else ""
    assert tokenizer.decode(tokenized.ids[leading:-1]) == f"{space}<think>{text} <tech:> {completion}"


def test_added_tokens_that_are_text_stay_whole() -> None:
    tokenizer, original = TOKENIZERS["byte-level"], KINDS["byte-level"]()
    ids = tokenizer.encode(
        example(""), PromptParts("", "a semtune   b\n\n<=> @user", "", None), 99, completion=False
    ).ids
    assert {original.convert_tokens_to_ids(t) for t in TEXT_TOKENS} <= set(ids)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_constraint_cannot_use_a_control_token_and_decoding_still_shows_it(kind: str) -> None:
    tokenizer, original = TOKENIZERS[kind], KINDS[kind]()
    think, marked = (original.convert_tokens_to_ids(t) for t in ("<think>", "<|im_end|>"))
    table = tokenizer.token_bytes()
    assert table[think] is None and table[marked] is None
    assert tokenizer.decode([think]) == "<think>" and tokenizer.decode([marked]) == ""


def test_a_control_token_that_cannot_be_split_is_refused() -> None:
    """Here the whole word is a piece and none of its characters is."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), ("a", -1.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="never")
    backend.add_special_tokens(["<unk>", "</s>"])
    tokenizer = FastTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"), 4)
    with pytest.raises(DataError, match=r'holds "(</s>|<unk>)", which this model\'s tokenizer can only read'):
        tokenizer.encode(example(""), PromptParts("", "a </s> a", "", None), 99, completion=False)


def without_eos(folder: Path, **config: object) -> Path:
    folder.mkdir()
    backend = byte_level_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder


@pytest.mark.parametrize(
    "config", [{"eos_token_id": 2}, {"eos_token_id": [2, 5]}, {"text_config": {"eos_token_id": 2}}]
)
def test_the_configs_end_of_sequence_token_is_used(tmp_path: Path, config: dict[str, object]) -> None:
    assert load_tokenizer(without_eos(tmp_path / "m", **config), 330).eos_id == 2


def test_a_missing_end_of_sequence_token_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(without_eos(tmp_path / "m", eos_token_id=None), 330)
    parts = PromptParts("", "the", "", " fox")
    assert tokenizer.encode(example("the"), parts, 50, completion=False).ids
    with pytest.raises(ModelError, match=r"no end-of-sequence token, .*readout head"):
        tokenizer.encode(example("the"), parts, 50, completion=True)
    (tmp_path / "m" / "generation_config.json").write_text('{"eos_token_id": 2}')
    assert load_tokenizer(tmp_path / "m", 330).eos_id == 2
