"""Every label must come back from a run's own tokenizer as it was written, or the run is refused before it trains."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from semtune.errors import OptionError
from semtune.records import Example, TargetKind, label_target
from semtune.registry import READOUTS

from ..toys import EXAMPLES, LABELS, byte_level, sentence_piece, toy_loaded, toy_readout

NFD = "cafe\u0301"
READ = ("generate", "generate-constrained")
"""Readouts that read labels from generated text."""


def normalising(*steps: normalizers.Normalizer) -> PreTrainedTokenizerFast:
    """The byte-level toy tokenizer, which changes text by `steps` first."""
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(list(steps))
    return tokenizer


MERGING = normalizers.Replace("  ", " ")
CASES = {
    "nfc": (normalizers.NFC(), ("tea", NFD)),
    "lower case": (normalizers.Lowercase(), ("tea", "Coffee")),
    "merged white space": (MERGING, ("tea", "hot  tea")),
    "accents": (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), ("tea", "caf\u00e9")),
    "invisible": (normalizers.Replace("\u200b", ""), ("tea", "cof\u200bfee")),
}


def train_of(labels: Sequence[str], kind: TargetKind) -> list[Example]:
    return [Example(str(i), "a text", label_target(kind, (label,))) for i, label in enumerate(labels)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", READ)
def test_a_label_that_the_tokenizer_changes_is_refused_by_name(name: str, case: str) -> None:
    normalizer, labels = CASES[case]
    loaded = toy_loaded(tokenizer=normalising(normalizer))
    readout = toy_readout(name, loaded, kind="single_label", labels=labels)
    with pytest.raises(OptionError) as refused:
        readout.prepare(train_of(labels, "single_label"))
    message = str(refused.value)
    assert "comes back as" in message and name in message and "--readout head" in message
    assert message.isprintable() and '"tea"' not in message


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [n for n in READOUTS if n not in READ])
def test_readouts_that_read_no_text_take_such_labels(name: str, case: str) -> None:
    normalizer, labels = CASES[case]
    readout = toy_readout(name, toy_loaded(tokenizer=normalising(normalizer)), kind="single_label", labels=labels)
    examples = train_of(labels, "single_label")
    readout.prepare(examples)
    assert {p.labels for p in readout.answer(examples)} <= {(label,) for label in labels}


@pytest.mark.parametrize(
    ("normalizer", "labels"), [(normalizers.Lowercase(), ("Good", "good")), (normalizers.NFC(), (NFD, "caf\u00e9"))]
)
@pytest.mark.parametrize("name", [*READ, "loglikelihood"])
def test_labels_with_the_same_tokens_are_refused(name: str, normalizer: normalizers.Normalizer, labels) -> None:
    readout = toy_readout(name, toy_loaded(tokenizer=normalising(normalizer)), kind="single_label", labels=labels)
    with pytest.raises(OptionError, match=r"comes back as|the same tokens"):
        readout.prepare(train_of(labels, "single_label"))


@pytest.mark.parametrize("name", READ)
def test_the_words_for_no_label_must_come_back_too(name: str) -> None:
    readout = toy_readout(name, toy_loaded(tokenizer=normalising(normalizers.Lowercase())), labels=("tea", "milk"))
    with pytest.raises(OptionError, match='the words for no label come back as "no technique"'):
        readout.prepare(train_of(("tea", "milk"), "label_set"))


@pytest.mark.parametrize("name", READ)
def test_a_list_of_labels_must_come_back_too(name: str) -> None:
    loaded = toy_loaded(tokenizer=normalising(normalizers.Replace(",", ";")))
    readout = toy_readout(name, loaded, labels=("tea", "milk"))
    with pytest.raises(OptionError, match='a list of several labels comes back as "tea; milk"'):
        readout.prepare(train_of(("tea", "milk"), "label_set"))


@pytest.mark.parametrize("name", list(READOUTS))
@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_labels_that_come_back_are_accepted(name: str, make) -> None:
    readout = toy_readout(name, toy_loaded(tokenizer=make()))
    readout.prepare(EXAMPLES)
    assert readout.space.labels == LABELS


def test_completions_longer_than_can_be_generated_are_counted() -> None:
    readout = toy_readout("generate", toy_loaded(), max_new_tokens=4)
    readout.prepare(EXAMPLES)
    lengths = [len(e) - e.prompt_length for e in map(readout.encode, EXAMPLES)]
    (note,) = readout.notes
    assert f"{sum(n > 4 for n in lengths)} of {len(EXAMPLES)} training texts" in note
    assert f"(the longest {max(lengths)})" in note
    generous = toy_readout("generate", toy_loaded(), max_new_tokens=max(lengths))
    generous.prepare(EXAMPLES)
    assert generous.notes == ()
