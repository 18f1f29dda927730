"""Log-likelihoods of completions, against one forward of transformers per pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.generation import loglikelihood as module
from semtune.generation.loglikelihood import loglikelihood
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.tree import PackedTree, TokenTree

from ..toys import toy_loaded, toy_model

tokens = st.lists(st.integers(2, 300), min_size=1, max_size=6)


def one_by_one(prompts, completions) -> torch.Tensor:
    model = toy_model()
    out = torch.zeros(len(prompts), len(completions), dtype=torch.float64)
    for row, prompt in enumerate(prompts):
        for column, completion in enumerate(completions):
            with torch.no_grad():
                chances = model(torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(-1)
            places = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
            out[row, column] = sum(chances[place, token] for place, token in zip(places, completion, strict=True))
    return out


def random_ids(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in lengths]


PROMPTS = random_ids(3, 9, 1, 14, 5)
FIRST, LONG = random_ids(4, 6)
COMPLETIONS = [FIRST, [8], LONG, [*FIRST[:2], 5, 0], LONG[:5], [*FIRST, 0], FIRST]


@pytest.mark.parametrize(("nodes", "width", "rows"), [(512, 1024, 128), (5, 30, 3), (1, 1, 1)])
def test_equal_one_forward_per_pair(nodes: int, width: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completions that begin alike, that are part of another, that are one token; in one piece and in many."""
    monkeypatch.setattr(module, "TREE_NODES", nodes)
    monkeypatch.setattr(module, "FORWARD_TOKENS", width)
    monkeypatch.setattr(module, "LOGIT_ROWS", rows)
    scores = loglikelihood(toy_loaded(), PROMPTS, COMPLETIONS)
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores, one_by_one(PROMPTS, COMPLETIONS), rtol=0, atol=1e-10)


def test_completions_that_begin_alike_take_one_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tokens are more than a forward takes, the nodes of their tree are not."""
    (stem,) = random_ids(20)
    completions = [[*stem, token, end] for token in range(2, 22) for end in (0, 1)]
    loaded, forwards = toy_loaded(), []
    forward = type(loaded).hidden_states
    monkeypatch.setattr(
        type(loaded), "hidden_states", lambda self, *given: forwards.append(len(given[0])) or forward(self, *given)
    )
    scores = loglikelihood(loaded, PROMPTS[:1], completions)
    assert forwards == [len(PROMPTS[0]) + len(stem) + 20]
    torch.testing.assert_close(scores, one_by_one(PROMPTS[:1], completions), rtol=0, atol=1e-10)


def test_long_prompts_too() -> None:
    """Longer than what attention is written out for."""
    (prompt,) = random_ids(300)
    scores = loglikelihood(toy_loaded(), [prompt], COMPLETIONS)
    torch.testing.assert_close(scores, one_by_one([prompt], COMPLETIONS), rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(st.lists(tokens, min_size=1, max_size=3), st.lists(tokens, min_size=1, max_size=5))
def test_any_prompts_and_completions(prompts, completions) -> None:
    torch.set_num_threads(1)
    scores = loglikelihood(toy_loaded(), prompts, completions)
    torch.testing.assert_close(scores, one_by_one(prompts, completions), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 2.0)])
def test_fp32_of_narrower_models(dtype: torch.dtype, tolerance: float) -> None:
    scores = loglikelihood(toy_loaded(dtype=dtype), PROMPTS, COMPLETIONS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), one_by_one(PROMPTS, COMPLETIONS), rtol=0, atol=tolerance)


def test_likelihoods_of_all_next_tokens_sum_to_one() -> None:
    scores = loglikelihood(toy_loaded(), PROMPTS, [[token] for token in range(340)])
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(len(PROMPTS), dtype=torch.float64))


def test_a_node_that_sees_its_sibling_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the comparison can fail."""
    monkeypatch.setattr(TokenTree, "visible", lambda self: [list(range(n + 1)) for n in range(len(self.tokens))])
    scores = loglikelihood(toy_loaded(), PROMPTS, COMPLETIONS)
    assert (scores - one_by_one(PROMPTS, COMPLETIONS)).abs().max() > 1e-3


def test_tree_joins_common_beginnings() -> None:
    tree = TokenTree.of([[4, 5], [4, 6], [7], []])
    assert tree == TokenTree((4, 5, 6, 7), (-1, 0, 0, -1), ((0, 1), (0, 2), (3,), ()))
    assert tree.depths() == [0, 1, 1, 0]
    assert PackedTree([2, 1], tree).position_ids(torch.device("cpu")).tolist() == [[0, 1, 2, 3, 3, 2, 0, 1, 2, 2, 1]]


def test_nothing_to_score() -> None:
    assert loglikelihood(toy_loaded(), [], COMPLETIONS).shape == (0, len(COMPLETIONS))
    assert loglikelihood(toy_loaded(), PROMPTS, []).shape == (len(PROMPTS), 0)


def test_rows_side_by_side_are_what_each_is_alone() -> None:
    """Also where only some tokens are asked for."""
    loaded = toy_loaded()
    first, second = (3, 5), (2, 4)
    ids = torch.tensor(random_ids(14)[0])
    with torch.no_grad():
        both = loaded.hidden_states(ids, PackedBatch.side_by_side([PackedBatch(first), PackedBatch(second)]))
        some = loaded.hidden_states(
            ids, PackedBatch.side_by_side([PackedBatch(first), PackedBatch(second)]), [2, 6, 7, 9, 13]
        )
        alone = torch.cat(
            [loaded.hidden_states(ids[:8], PackedBatch(first)), loaded.hidden_states(ids[8:], PackedBatch(second))]
        )
    torch.testing.assert_close(both, alone)
    torch.testing.assert_close(some, alone[[2, 6, 7, 9, 13]])
