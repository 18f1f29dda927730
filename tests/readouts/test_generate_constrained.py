"""Decoding that can only say valid sets of labels, against all valid answers by enumeration."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semtune.contracts import Tokenizer
from semtune.errors import ModelError
from semtune.generation.constraints import LabelAutomaton, TokenAutomaton
from semtune.models.tokenizer import FastTokenizer
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.packed_batch import PackedBatch
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, TargetKind, TargetSpace, label_target
from semtune.tasks.techniques import TECHNIQUES

from ..toys import EXAMPLES, LABELS, VOCABULARY, byte_level, sentence_piece, toy_loaded, toy_readout, valid_answers

ANSWERS: tuple[TargetKind, ...] = ("label_set", "single_label")
KINDS = {"byte-level": byte_level, "sentence-piece": sentence_piece}


@functools.cache
def encoder_of(kind: str) -> Tokenizer:
    return FastTokenizer(KINDS[kind](), VOCABULARY)


@functools.cache
def automaton_of(kind: str, answer: TargetKind, labels: tuple[str, ...] = LABELS) -> TokenAutomaton:
    tokenizer = encoder_of(kind)
    grammar = LabelAutomaton(ReportPrompt(TargetSpace(answer, tuple(labels))).grammar())
    return TokenAutomaton(grammar, tokenizer.token_bytes(), tokenizer.eos_id)


def completion_ids(kind: str, labels: tuple[str, ...], space: tuple[str, ...], answer: TargetKind) -> list[int]:
    """A completion as it is trained on, end-of-sequence included."""
    example = Example("1", "text", label_target(answer, labels))
    whole = encoder_of(kind).encode(
        example, ReportPrompt(TargetSpace(answer, tuple(space))).encode(example), 1000, completion=True
    )
    return list(whole.ids[whole.prompt_length :])


class RandomBundle:
    """A model whose every logit is drawn anew; `lean` is added to some tokens."""

    def __init__(self, kind: str, seed: int, lean: dict[int, float]) -> None:
        self.tokenizer, self.device, self.lean = encoder_of(kind), torch.device("cpu"), lean
        self.generator = torch.Generator().manual_seed(seed)

    def new_cache(self, count: int) -> KeyValueCache:
        return KeyValueCache(count)

    def pack_groups(self, groups) -> tuple[Tensor, PackedBatch]:
        ids = [token for texts, _ in groups for text in texts for token in text]
        parts = [PackedBatch(tuple(map(len, texts)), cache) for texts, cache in groups]
        return torch.tensor(ids), PackedBatch.side_by_side(parts)

    def hidden_states(self, ids: Tensor, batch, query_indices) -> Tensor:
        batch.advance()
        return torch.zeros(len(query_indices), 1)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = torch.randn(len(hidden), VOCABULARY, generator=self.generator)
        for token, more in self.lean.items():
            logits[:, token] += more
        return logits


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from(ANSWERS),
    st.integers(0, 2**32),
    st.sampled_from([-20.0, 0.0, 3.0, 20.0]),
    st.dictionaries(st.integers(2, VOCABULARY - 1), st.sampled_from([-5.0, 5.0]), max_size=20),
)
def test_whatever_the_logits_the_answer_is_valid(
    kind: str, answer: TargetKind, seed: int, lean_to_stop: float, lean: dict[int, float]
) -> None:
    """Also where the model never wants to stop, or always."""
    loaded = RandomBundle(kind, seed, lean | {encoder_of(kind).eos_id: lean_to_stop})
    valid = valid_answers(answer == "single_label")
    for prediction in toy_readout("generate-constrained", loaded, kind=answer, max_new_tokens=1).answer(EXAMPLES):
        assert prediction.raw in valid
        assert prediction.parsed
        assert prediction.labels == valid[prediction.raw]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(KINDS)), st.sampled_from(ANSWERS), st.data())
def test_allowed_tokens_are_exactly_those_that_lead_to_a_valid_answer(kind: str, answer: TargetKind, data) -> None:
    """By enumeration, at every step of a random walk; so every valid answer in every spelling can be reached."""
    tokenizer, automaton = encoder_of(kind), automaton_of(kind, answer)
    table = tokenizer.token_bytes()
    valid = [text.encode() for text in valid_answers(answer == "single_label")]
    state, said = automaton.automaton.start(), b""
    while True:
        here = [text[len(said) :] for text in valid if text.startswith(said)]
        expected = [i for i, piece in enumerate(table) if piece and any(rest.startswith(piece) for rest in here)]
        expected += [tokenizer.eos_id] if b"" in here else []
        assert automaton.allowed(state) == sorted(expected)
        token = data.draw(st.sampled_from(sorted(expected)))
        if token == tokenizer.eos_id:
            break
        state, said = automaton.advance(state, token), said + table[token]
    assert said in valid
    assert len(said) <= automaton.automaton.max_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_trained_on_can_be_said(kind: str, answer: TargetKind) -> None:
    """The tokenizer's own spelling of each valid answer is an allowed path, end-of-sequence included."""
    for labels in valid_answers(answer == "single_label").values():
        assert_allowed(automaton_of(kind, answer), completion_ids(kind, labels, LABELS, answer))


@settings(deadline=None, max_examples=50)
@given(st.sets(st.sampled_from(TECHNIQUES)))
def test_any_set_of_the_techniques_can_be_said(chosen: set[str]) -> None:
    automaton = automaton_of("byte-level", "label_set", TECHNIQUES)
    assert_allowed(automaton, completion_ids("byte-level", tuple(chosen), TECHNIQUES, "label_set"))


def assert_allowed(automaton: TokenAutomaton, path: list[int]) -> None:
    state = automaton.automaton.start()
    for token in path[:-1]:
        assert token in automaton.allowed(state)
        state = automaton.advance(state, token)
    assert path[-1] in automaton.allowed(state)


@pytest.mark.parametrize(
    "labels", [("a", "ab", "abc"), ("x", "x y", "y"), ("A", "A, B", "B, C"), ("No technique", "b")]
)
def test_labels_that_begin_alike(labels: tuple[str, ...]) -> None:
    """Each can be said, and what is said is read back as it was meant."""
    loaded = toy_loaded()
    readout = toy_readout("generate-constrained", loaded, labels=labels)
    automaton = automaton_of("byte-level", "label_set", labels)
    prompt = ReportPrompt(TargetSpace("label_set", labels))
    for chosen in ((), *((label,) for label in labels), labels[::2], labels):
        path = completion_ids("byte-level", chosen, labels, "label_set")
        assert_allowed(automaton, path)
        parsed = prompt.parse(loaded.tokenizer.decode(path))
        assert (parsed.labels, parsed.ok) == (chosen, True)
    assert all(p.parsed for p in readout.answer(EXAMPLES))


def test_takes_the_most_probable_of_the_allowed() -> None:
    """Where the model's own favourite is allowed throughout, nothing changes."""
    path = completion_ids("byte-level", LABELS[1:3], LABELS, "label_set")

    class Eager(RandomBundle):
        prompt_length: int | None = None

        def hidden_states(self, ids: Tensor, batch, query_indices) -> Tensor:
            """The index of each token within the answer."""
            if self.prompt_length is None:
                self.prompt_length = query_indices[0] + 1
            (cached,) = batch.cache.lengths
            super().hidden_states(ids, batch, query_indices)
            return torch.tensor([[float(cached + index + 1 - self.prompt_length)] for index in query_indices])

        def logits(self, hidden: Tensor) -> Tensor:
            logits = super().logits(hidden)
            for row, step in zip(logits, hidden[:, 0].long().tolist(), strict=True):
                row[path[min(step, len(path) - 1)]] += 100.0
            logits[:, 5] += 1000.0  # never allowed
            return logits

    assert 5 not in path
    (prediction,) = toy_readout("generate-constrained", Eager("byte-level", 0, {})).answer(EXAMPLES[:1])
    assert prediction.labels == LABELS[1:3]


def test_tokenizer_that_cannot_spell_a_label_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = toy_loaded()
    table = [None if piece and b"\xc3" in piece else piece for piece in loaded.tokenizer.token_bytes()]
    monkeypatch.setattr(type(loaded.tokenizer), "token_bytes", lambda _: table)
    with pytest.raises(ModelError, match="é"):
        toy_readout("generate-constrained", loaded)
