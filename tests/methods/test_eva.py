"""EVA: A begins with the principal components of a layer's inputs; scikit-learn's IncrementalPCA is the oracle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from sklearn.decomposition import IncrementalPCA
from torch import Tensor, nn

from semtune.approaches.data_start import start_on_data
from semtune.contracts import TokenizedExample
from semtune.methods._eva import PrincipalComponents
from semtune.methods._low_rank import adapters
from semtune.records import LowRankSettings
from semtune.registry import METHODS

SETTINGS = LowRankSettings(
    rank=4, alpha=8.0, dropout=0.1, targets=("all-linear",), start="eva", eva_batches=3, svd_iterations=0
)
PADDING = 5


def forwards(model: nn.Module) -> Iterator[tuple[int, Callable[[], None]]]:
    """Batches of 24 to 28 tokens in one row, with padding behind them that a start must not see."""
    generator = torch.Generator().manual_seed(5)
    for tokens in range(24, 29):
        ids = torch.randint(1, 97, (1, tokens + PADDING), generator=generator)
        ids[:, tokens:] = 0
        yield tokens, lambda ids=ids: model(input_ids=ids)


def inputs_of(model: nn.Module, batches: int) -> dict[str, list[Tensor]]:
    """The real tokens' inputs (tokens, in) of every adapter, batch by batch."""
    seen: dict[str, list[Tensor]] = {path: [] for path in adapters(model)}
    handles = [
        adapter.register_forward_pre_hook(lambda _, x, path=path: seen[path].append(x[0].detach().flatten(0, -2)))
        for path, adapter in adapters(model).items()
    ]
    for index, (tokens, run) in enumerate(forwards(model)):
        if index < batches:
            run()
            for of_layer in seen.values():
                of_layer[-1] = of_layer[-1][:tokens]
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["lora", "qlora", "dora"])
def test_components_are_those_of_scikit_learn(name: str, toy_loaded, ids: Tensor) -> None:
    loaded = toy_loaded("nf4" if name == "qlora" else "fp32")
    method = METHODS.get(name)
    method.attach(loaded, SETTINGS)
    before = loaded.model(input_ids=ids).logits
    seen = inputs_of(loaded.model, SETTINGS.eva_batches)
    method.start_on_data(loaded.model, SETTINGS, forwards(loaded.model))
    for path, adapter in adapters(loaded.model).items():
        oracle = IncrementalPCA(n_components=4)
        for batch in seen[path]:
            oracle.partial_fit(batch.numpy())
        found, expected = adapter.lora_A.detach(), torch.from_numpy(oracle.components_)
        signs = (found * expected).sum(dim=1, keepdim=True).sign()
        torch.testing.assert_close(found, expected * signs, rtol=0, atol=1e-9)
        assert adapter.lora_A.requires_grad and not adapter.lora_B.any()
    assert torch.equal(loaded.model(input_ids=ids).logits, before)
    loaded.model.train()(input_ids=ids, labels=ids).loss.backward()
    assert all(adapter.lora_B.grad.abs().max() > 0 for adapter in adapters(loaded.model).values())


def test_the_randomised_components_span_nearly_as_much_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -2, 40)
    batches = [torch.randn(30, 40, generator=generator) * spread + 1 for _ in range(4)]
    rows = torch.cat(batches)
    rows = rows - rows.mean(dim=0)

    def variance(iterations: int) -> float:
        found = PrincipalComponents(6, iterations)
        for batch in batches:
            found.update(batch)
        assert found.components is not None
        torch.testing.assert_close(found.components @ found.components.t(), torch.eye(6), rtol=0, atol=1e-5)
        return float((rows @ found.components.t()).square().sum())

    best = float(torch.linalg.svdvals(rows)[:6].square().sum())
    assert 0.98 * best < variance(0) <= 1.0001 * best
    assert 0.98 * best < variance(8) <= 1.0001 * best


def test_other_starts_do_not_look_at_data(toy_loaded) -> None:
    loaded = toy_loaded()
    settings = dataclasses.replace(SETTINGS, start="kaiming")
    METHODS.get("lora").attach(loaded, settings)
    METHODS.get("lora").start_on_data(loaded.model, settings, iter_that_fails())


def iter_that_fails() -> Iterator[tuple[int, Callable[[], None]]]:
    raise AssertionError("the data were asked for")
    yield


def test_batches_are_all_texts_once_in_an_order_of_the_seed() -> None:
    texts = [TokenizedExample(str(i), tuple(range(i + 1)), 1, None) for i in range(7)]
    model = nn.Linear(1, 1)

    class Looks:
        def start_on_data(self, model: nn.Module, settings: object, forwards: Iterator) -> None:
            for tokens, run in forwards:
                run()
                assert tokens == sum(map(len, batches[-1]))

    def order(seed: int) -> list[list[str]]:
        batches.clear()
        start_on_data(Looks(), model.train(), SETTINGS, loss, texts, batch_size=3, seed=seed)
        return [[text.id for text in batch] for batch in batches]

    def loss(batch: list[TokenizedExample]) -> None:
        assert not torch.is_grad_enabled() and not model.training
        batches.append(batch)

    batches: list[list[TokenizedExample]] = []
    first = order(1)
    assert [len(batch) for batch in first] == [3, 3, 1]
    assert sorted(i for batch in first for i in batch) == [str(i) for i in range(7)]
    assert order(1) == first != order(2)
    start_on_data(object(), model, SETTINGS, loss, texts, batch_size=3, seed=0)  # a method without the hook
