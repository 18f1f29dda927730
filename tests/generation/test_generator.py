"""The facade that prompting strategies use: texts or token ids in, texts or log-likelihoods out."""

from __future__ import annotations

import pytest
import torch

from semtune.errors import ModelError
from semtune.generation.generator import Generator
from semtune.generation.greedy import greedy
from semtune.generation.loglikelihood import loglikelihood
from semtune.prompts.report import ReportPrompt
from semtune.records import TargetSpace

from ..toys import LABELS, TEXTS, byte_level, toy_loaded, valid_answers


@pytest.mark.parametrize("batch_size", [None, 2])
def test_texts_and_ids_are_the_same(batch_size: int | None) -> None:
    loaded = toy_loaded()
    generator = Generator(loaded, batch_size=batch_size)
    ids = [byte_level().encode(text) for text in TEXTS]
    expected = [loaded.tokenizer.decode(tokens) for tokens in greedy(loaded, ids, 7)]
    assert generator.generate(TEXTS, 7) == expected
    assert generator.generate([ids[0], *TEXTS[1:]], 7) == expected


def test_constrained_completions_are_valid_answers() -> None:
    generator = Generator(toy_loaded())
    for kind in ("label_set", "single_label"):
        constraint = generator.label_constraint(ReportPrompt(TargetSpace(kind, LABELS)).grammar())
        valid = valid_answers(kind == "single_label")
        assert all(text in valid for text in generator.generate(TEXTS, 120, constraint))


def test_loglikelihood_of_texts_counts_the_end_of_sequence() -> None:
    loaded = toy_loaded()
    generator = Generator(loaded)
    prompts = [byte_level().encode(text) for text in TEXTS]
    completions = [[*byte_level().encode(f" {label}"), 0] for label in LABELS[:3]]
    expected = loglikelihood(loaded, prompts, completions)
    assert expected.shape == (len(TEXTS), 3)
    assert torch.equal(generator.loglikelihood(TEXTS, [f" {label}" for label in LABELS[:3]]), expected)
    assert torch.equal(generator.loglikelihood(prompts, completions), expected)
    shorter = generator.loglikelihood(prompts, [tokens[:-1] for tokens in completions])
    assert (shorter > expected).all()


def test_answers_that_cannot_be_spelt_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = toy_loaded()
    table = [None if piece and b"\xc3" in piece else piece for piece in loaded.tokenizer.token_bytes()]
    monkeypatch.setattr(type(loaded.tokenizer), "token_bytes", lambda _: table)
    with pytest.raises(ModelError, match="é"):
        Generator(loaded).label_constraint(ReportPrompt(TargetSpace("label_set", LABELS)).grammar())
