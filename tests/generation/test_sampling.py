"""Sampling against probabilities computed by stock transformers, and what its determinism promises."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from semtune.errors import DivergedError
from semtune.generation.greedy import greedy
from semtune.generation.sampling import sample, text_seed

from ..toys import TEXTS, byte_level, toy_loaded, toy_model


def prompts() -> list[list[int]]:
    return [byte_level().encode(text) for text in TEXTS]


def test_frequencies_are_the_models_probabilities() -> None:
    """Of the first token, over many seeds; the probabilities come from transformers' own forward."""
    loaded, (prompt, *_) = toy_loaded(), prompts()
    logits = toy_model()(torch.tensor([prompt])).logits[0, -1].detach()
    count = 1500
    for temperature in (0.3, 1.5):
        expected = (logits / temperature).softmax(-1)
        drawn = sample(loaded, [prompt] * count, 1, temperature=temperature, seeds=range(count))
        frequency = Counter(tokens[0] if tokens else 0 for tokens in drawn)  # 0: end-of-sequence
        for token, p in enumerate(expected.tolist()):
            assert abs(frequency[token] / count - p) < 5 * (p * (1 - p) / count) ** 0.5 + 2e-3


def test_a_text_depends_on_its_own_prompt_and_seed_alone() -> None:
    loaded, asked = toy_loaded(), prompts()
    seeds = [7, 8, 9, 10, 11]
    together = sample(loaded, asked, 12, temperature=1.0, seeds=seeds)
    alone = [sample(loaded, [p], 12, temperature=1.0, seeds=[s])[0] for p, s in zip(asked, seeds, strict=True)]
    assert together == alone
    assert sample(loaded, asked[::-1], 12, temperature=1.0, seeds=seeds[::-1]) == together[::-1]
    same_prompt = sample(loaded, [asked[0]] * 3, 12, temperature=1.0, seeds=[1, 2, 1])
    assert same_prompt[0] == same_prompt[2] != same_prompt[1]
    assert all(len(tokens) <= 12 for tokens in together)


def test_later_tokens_follow_the_earlier_ones() -> None:
    """A low temperature is greedy decoding, which has tests of its own; temperature 0 is it exactly."""
    loaded, asked = toy_loaded(), prompts()
    expected = greedy(loaded, asked, 9)
    for temperature in (0, 1e-4):
        assert sample(loaded, asked, 9, temperature=temperature, seeds=[0] * len(asked)) == expected


def test_a_text_ends_where_it_contains_the_stop() -> None:
    loaded, asked = toy_loaded(), prompts()
    free = sample(loaded, asked, 40, temperature=1.0, seeds=[3] * len(asked))
    stopped = sample(loaded, asked, 40, temperature=1.0, seeds=[3] * len(asked), stop="e")
    assert any(len(s) < len(f) for s, f in zip(stopped, free, strict=True))
    for short, long in zip(stopped, free, strict=True):
        assert short == long[: len(short)]
        assert "e" not in loaded.tokenizer.decode(short[:-1])
        assert len(short) == len(long) or "e" in loaded.tokenizer.decode(short)


def test_every_text_of_a_run_has_a_seed_of_its_own() -> None:
    several = {text_seed(seed, name, n) for seed in (0, 1) for name in ("a", "b") for n in range(3)}
    assert len(several) == 12
    assert all(0 <= seed < 2**63 for seed in several)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    loaded = toy_loaded()
    with torch.no_grad():
        loaded.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="logits"):
        sample(loaded, prompts(), 2, temperature=1.0, seeds=[0] * len(TEXTS))
