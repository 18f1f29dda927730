"""Calls of many texts run together: every text gets what it would get alone, in fewer and smaller forwards."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch.nn import functional as F

from semtune.generation import engine as module
from semtune.generation.engine import Engine
from semtune.generation.generator import Generator, QueuedGenerator
from semtune.generation.interleaving import interleave
from semtune.prompts.report import ReportPrompt
from semtune.records import TargetSpace

from ..toys import LABELS, byte_level, toy_loaded, toy_model, valid_answers

COUNT = itertools.count()


def random_ids(seed: int, *lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in lengths]


def mixed_prompts() -> list[list[int]]:
    """Prompts behind two nested beginnings, behind another one, behind none; equal ones; one that begins another."""
    (instruction, shots, other), texts = random_ids(1, 40, 50, 30), random_ids(2, *range(3, 31, 2))
    prompts = [instruction + shots + text for text in texts[:5]] + [instruction + text for text in texts[5:8]]
    prompts += [other + text for text in texts[8:10]] + texts[10:]
    return [*prompts, prompts[2], prompts[2] + texts[0], instruction + shots]


def alone(prompt: list[int], tokens: int, model: torch.nn.Module) -> list[int]:
    """transformers' own model, one token after the other, without any cache."""
    ids = list(prompt)
    while len(ids) < len(prompt) + tokens:
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == 0:
            break
        ids.append(token)
    return ids[len(prompt) :]


def run(engine: Engine, texts, limit: int = 4) -> list:
    """Each text is a function of its generator; results in the order of the texts."""

    def start(text, wait):
        generator = QueuedGenerator(engine, wait)
        try:
            return text(generator)
        finally:
            generator.close()

    functions = [lambda wait, text=text: start(text, wait) for text in texts]
    return [result for _, result in sorted(interleave(functions, engine.step, limit), key=lambda pair: pair[0])]


def make(max_bytes: int = 1 << 26) -> Engine:
    return Engine(toy_loaded(), max_bytes, time.perf_counter)


@pytest.fixture(scope="module")
def expected() -> list[list[int]]:
    model = toy_model()
    with torch.no_grad():
        return [alone(prompt, 9, model) for prompt in mixed_prompts()]


@pytest.mark.parametrize("max_bytes", [0, 100_000, 1 << 26])
@pytest.mark.parametrize(("limit", "forward_tokens"), [(1, 512), (3, 20), (100, 512)])
def test_tokens_are_those_of_one_text_alone(
    expected: list[list[int]], max_bytes: int, limit: int, forward_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORWARD_TOKENS", forward_tokens)
    engine = make(max_bytes)
    decode = engine.loaded.tokenizer.decode
    texts = [lambda g, prompt=prompt: g.generate([prompt], 9) for prompt in mixed_prompts()]
    assert run(engine, texts, limit) == [[decode(ids)] for ids in expected]
    assert engine._kept.nbytes <= max_bytes // 2


def test_steps_of_a_text_continue_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls a text, the second behind the first one's answer, several prompts a call, constrained ones among."""
    loaded = toy_loaded()
    grammar = ReportPrompt(TargetSpace("label_set", LABELS)).grammar()

    def text(prompt: list[int]):
        def steps(generator: Generator) -> list[str]:
            first = generator.generate([prompt, [*prompt, 5]], 6)
            behind = [prompt + byte_level().encode(answer) for answer in first]
            second = generator.generate(behind, 200, generator.label_constraint(grammar))
            sampled = generator.sample([prompt] * 3, 8, temperature=0.9, seeds=[1, 2, 3], stop=" ")
            scores = generator.loglikelihood(behind, [" no", " yes it is", [9]])
            return [*first, *second, *sampled, scores]

        return steps

    prompts = mixed_prompts()[:9]
    together = run(make(), map(text, prompts))
    valid = valid_answers(single=False)
    for prompt, found in zip(prompts, together, strict=True):
        plain = text(prompt)(Generator(loaded, batch_size=1))
        assert found[:-1] == plain[:-1]
        torch.testing.assert_close(found[-1], plain[-1], rtol=0, atol=1e-10)
        assert all(answer in valid for answer in found[2:4])


def test_loglikelihoods_are_those_of_transformers() -> None:
    prompts, completions = mixed_prompts(), random_ids(3, 1, 4, 2)
    model = toy_model()
    values = run(make(), [lambda g, p=p: g.loglikelihood([p], completions) for p in prompts], limit=7)
    with torch.no_grad():
        for prompt, row in zip(prompts, values, strict=True):
            for tokens, value in zip(completions, row[0], strict=True):
                log_probs = F.log_softmax(model(torch.tensor([prompt + tokens])).logits[0], dim=-1)
                own = log_probs[len(prompt) - 1 : -1].gather(1, torch.tensor(tokens)[:, None]).sum()
                assert value.item() == pytest.approx(own.item(), abs=1e-9)


def test_a_shared_beginning_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[int] = []
    forward = type(toy_loaded()).hidden_states

    def spy(self, ids, batch, query_indices=None):
        tokens.append(len(ids))
        return forward(self, ids, batch, query_indices)

    monkeypatch.setattr(type(toy_loaded()), "hidden_states", spy)
    (beginning,), ends = random_ids(4, 200), random_ids(5, *[7] * 20)
    engine = make()
    tokens.clear()
    run(engine, [lambda g, end=end: g.generate([beginning + end], 1) for end in ends], limit=5)
    assert sum(tokens) == 200 + 20 * 7
    assert tokens[0] == 200, "before the texts that begin with it"
    tokens.clear()
    run(engine, [lambda g, end=end: g.loglikelihood([beginning + end], [[5], [6]]) for end in ends], limit=5)
    assert sum(tokens) == 20 * 7


def test_prompts_that_fill_a_forward_by_themselves_are_answered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward reads one of them, while the texts that were read before go on."""
    monkeypatch.setattr(module, "FORWARD_TOKENS", 16)
    engine = make()
    together: list[int] = []
    step = engine.step

    def counted() -> None:
        step()
        together.append(sum(len(group.requests) for group in engine._groups.values()))

    monkeypatch.setattr(engine, "step", counted)
    prompts = random_ids(7, 40, 41, 42)
    run(engine, [lambda g, p=p: g.generate([p], 12) for p in prompts])
    assert max(together) > 1


def test_the_seconds_of_all_texts_are_those_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by one whenever it is read: each step takes one second."""
    engine = Engine(toy_loaded(), 1 << 26, lambda: float(next(COUNT)))
    steps = 0
    step = engine.step

    def counted() -> None:
        nonlocal steps
        steps += 1
        step()

    monkeypatch.setattr(engine, "step", counted)

    def text(generator: QueuedGenerator, prompt: list[int]) -> float:
        generator.generate([prompt, prompt], 4)
        generator.loglikelihood([prompt], [[4], [5, 6]])
        return generator.seconds

    seconds = run(engine, [lambda g, p=p: text(g, p) for p in mixed_prompts()])
    assert sum(seconds) == pytest.approx(steps)
    assert min(seconds) > 0


def test_nothing_is_kept_for_texts_that_are_done() -> None:
    """Only what texts share, so memory does not grow with their number."""
    engine = make()
    (beginning,), ends = random_ids(4, 60), random_ids(5, *[30] * 12)
    run(engine, [lambda g, end=end: g.generate([beginning + end], 5) for end in ends])
    per_token = engine._token_bytes
    assert engine._kept.nbytes == 60 * per_token
