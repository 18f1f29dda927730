"""Guessed tokens change how many forwards decoding takes, never what is said."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.generation.greedy import greedy
from semtune.generation.prompt_lookup import MAX_DRAFT_TOKENS, PromptLookup
from semtune.nn.key_value_cache import KeyValueCache

from ..readouts.test_generate import prompts, prone_to_stop
from ..toys import toy_loaded

MOST = 15
TEXTS = prompts(12)


def stopping_bundle():
    loaded = toy_loaded()
    loaded.model.load_state_dict(prone_to_stop().state_dict())
    return loaded


class Planted(PromptLookup):
    """Guesses what it is told to, whatever would be sensible."""

    def __init__(self, guesses) -> None:
        super().__init__(0)
        self.guesses, self.limits = guesses, []

    def propose(self, generated_ids, max_tokens: int) -> list[int]:
        self.limits.append(max_tokens)
        return self.guesses(list(generated_ids))[:max_tokens]


@pytest.fixture(scope="module")
def plain() -> list[list[int]]:
    """One token a forward, each text alone."""
    torch.set_num_threads(1)
    loaded = stopping_bundle()
    return [greedy(loaded, [text], MOST, prompt_lookup=Planted(lambda said: []))[0] for text in TEXTS]


def forwards(monkeypatch: pytest.MonkeyPatch, loaded) -> list[int]:
    """Texts of each forward, filled as decoding goes."""
    texts: list[int] = []
    forward = type(loaded).hidden_states

    def spy(self, ids, batch, query_indices=None):
        texts.append(len(batch.lengths))
        return forward(self, ids, batch, query_indices)

    monkeypatch.setattr(type(loaded), "hidden_states", spy)
    return texts


def right_then_wrong(plain: list[list[int]], right: int):
    """The true continuation for `right` tokens, then nonsense: known by what was said, as answers differ early."""

    def guesses(said: list[int]) -> list[int]:
        true = next((answer for answer in plain if answer[: len(said)] == said), [])[len(said) :]
        return [*true[:right], 7, 8, 9]

    return guesses


@pytest.mark.parametrize("batch_size", [None, 1, 3, 5])
@pytest.mark.parametrize("right", [0, 1, 2, 5, 20])
def test_drafts_that_fail_midway_change_nothing(plain: list[list[int]], right: int, batch_size: int | None) -> None:
    drafts = Planted(right_then_wrong(plain, right))
    assert greedy(stopping_bundle(), TEXTS, MOST, batch_size=batch_size, prompt_lookup=drafts) == plain
    assert min(drafts.limits) >= 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_any_drafts_change_nothing(seed: int, batch_size: int) -> None:
    """Random ones of random length, now and then the truth."""
    torch.set_num_threads(1)
    loaded = stopping_bundle()
    expected = greedy(loaded, TEXTS[:5], 6, prompt_lookup=Planted(lambda said: []))
    generator = torch.Generator().manual_seed(seed)

    def guesses(said: list[int]) -> list[int]:
        truth = right_then_wrong(expected, int(torch.randint(0, 4, (), generator=generator)))(said)
        noise = torch.randint(0, 300, (3,), generator=generator).tolist()
        return truth if torch.rand((), generator=generator) < 0.6 else noise

    assert greedy(loaded, TEXTS[:5], 6, batch_size=batch_size, prompt_lookup=Planted(guesses)) == expected


def test_right_drafts_save_forwards(plain: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = stopping_bundle()
    seen = forwards(monkeypatch, loaded)
    assert greedy(loaded, TEXTS, MOST, prompt_lookup=Planted(right_then_wrong(plain, MOST))) == plain
    assert len(seen) <= 3  # those that begin alike are told apart by their first token


def test_answers_teach_later_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text again and again is guessed from its second time on."""
    loaded = stopping_bundle()
    (once,) = greedy(loaded, TEXTS[:1], MOST)
    seen = forwards(monkeypatch, loaded)
    assert greedy(loaded, TEXTS[:1] * 4, MOST, batch_size=1) == [once] * 4
    assert len(seen) < 2.5 * (len(once) + 1)


def test_a_cache_that_is_not_rewound_is_noticed(plain: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the test above can fail."""
    monkeypatch.setattr(KeyValueCache, "rewind", lambda self, lengths: None)
    drafts = Planted(right_then_wrong(plain, 1))
    assert greedy(stopping_bundle(), TEXTS, MOST, prompt_lookup=drafts) != plain


def test_progress_counts_every_text() -> None:
    resolved: list[int] = []
    greedy(stopping_bundle(), TEXTS, MOST, batch_size=3, progress=resolved.append)
    assert sum(resolved) == len(TEXTS) and len(resolved) > 1


def test_guesses_follow_the_longest_known_context() -> None:
    drafts = PromptLookup(0, [[5, 6, 7, 0], [5, 6, 7, 0], [9, 6, 8, 0], [9, 6, 8, 0]])
    assert drafts.propose([5], 10) == [6, 7]
    assert drafts.propose([9], 10) == [6, 8]
    assert drafts.propose([1, 9], 1) == [6]
    assert drafts.propose([], 10) == []  # half and half is not sure enough
    assert drafts.propose([4], 10) == []
    assert drafts.propose([5, 6, 7], 10) == []  # it ends there
    drafts.learn([2] * 50)
    assert drafts.propose([2] * 6, 40) == [2] * len(drafts.propose([2] * 6, 40))
    assert len(drafts.propose([2] * 6, 40)) <= MAX_DRAFT_TOKENS
