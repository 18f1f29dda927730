"""Prepacking a model whose biases are trained, where oneDNN is replaced by a plain layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semtune.models.loading import load
from semtune.nn.linear import PrepackedLinear, plain, prepacked

GIB = 1 << 30


@pytest.fixture(autouse=True)
def prepackable_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepacked, "_prepack", lambda weight: weight.clone())
    monkeypatch.setattr(plain, "can_prepack", lambda linear: not linear.weight.requires_grad)


def test_trained_biases_stay_the_same_parameters(model_folder: Callable[..., Path]) -> None:
    models = [load(str(model_folder("qwen2")), precision="bf16", device="cpu") for _ in range(2)]
    ids = torch.tensor([[5, 80, 31, 7]])
    for loaded in models:
        loaded.model.requires_grad_(False)
        for name, parameter in loaded.model.named_parameters():
            parameter.requires_grad_(name.endswith(".bias"))
    ours, theirs = models
    trained = {name: p for name, p in ours.model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 3
    assert ours.prepack_frozen(True, memory_bytes=GIB) == 2 * 7
    assert all(isinstance(layer, PrepackedLinear) for layer in ours.linears().values())
    now = dict(ours.model.named_parameters())
    assert all(now[name] is parameter for name, parameter in trained.items())
    assert {n for n in ours.model.state_dict() if n.endswith("bias")} == set(trained)
    for loaded in models:
        loaded.model(input_ids=ids, labels=ids).loss.backward()
    expected = dict(theirs.model.named_parameters())
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=2e-2, atol=1e-3)


def test_only_where_the_second_copy_is_a_small_share_of_memory(model_folder: Callable[..., Path]) -> None:
    loaded = load(str(model_folder()), precision="bf16", device="cpu")
    loaded.model.requires_grad_(False)
    copy_bytes = sum(2 * layer.weight.numel() for layer in loaded.linears().values())
    assert loaded.prepack_frozen(memory_bytes=20 * copy_bytes - 20) == 0
    assert loaded.prepack_frozen(False, memory_bytes=GIB) == 0
    assert loaded.prepack_frozen(memory_bytes=20 * copy_bytes) == 2 * 7
    assert loaded.prepacked_head is None
    assert loaded.prepack_frozen(True, memory_bytes=GIB) == 0  # nothing plain is left


def test_predicting_stores_one_layout_and_the_head(model_folder: Callable[..., Path]) -> None:
    loaded = load(str(model_folder()), precision="bf16", device="cpu")
    loaded.model.requires_grad_(False)
    assert loaded.prepack_frozen(memory_bytes=1, backward=False) == 2 * 7
    assert all(layer._backward is None for layer in loaded.linears().values())
    assert isinstance(loaded.prepacked_head, PrepackedLinear)
