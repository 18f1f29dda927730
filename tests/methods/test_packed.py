"""Every method over packed batches: the same as transformers' own forward of each text alone, in fp64."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.models.loaded import TransformersModel
from semtune.registry import METHODS, QUANTIZATIONS
from tests.combinations import MODEL_TRAINING
from tests.models.test_packed_attention import LENGTHS, alone, close, make, texts_of

KINDS = ("llama", "smollm3, through transformers' own forward")
pytestmark = [
    pytest.mark.parametrize("name", list(METHODS)),
    pytest.mark.parametrize("kind", KINDS, ids=["fused", "stock"]),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tuned(name: str, kind: str) -> TransformersModel:
    """A model with the method attached, away from its start; the same each time."""
    model = make(kind)
    loaded = TransformersModel(model, None, "toy", torch.float64, torch.device("cpu"), 32)  # type: ignore[arg-type]
    settings = METHODS.get(name).presets["report"]
    if settings.precision in QUANTIZATIONS:
        for path, linear in loaded.linears().items():
            bias = None if linear.bias is None else linear.bias.detach()
            quantized = QUANTIZATIONS.get(settings.precision).quantize(linear.weight.detach(), bias, torch.float64)
            model.set_submodule(path, quantized)
    changes = {"rank": 3, "dropout": 0.0} if hasattr(settings, "dropout") else {}
    torch.manual_seed(1)
    METHODS.get(name).attach(loaded, dataclasses.replace(settings, **changes))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in METHODS.get(name).trainable(model).values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return loaded


def gradients(name: str, model: nn.Module) -> dict[str, Tensor]:
    found = {n: p.grad for n, p in METHODS.get(name).trainable(model).items() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("some", [False, True])
def test_states_and_gradients_equal_each_text_alone(name: str, kind: str, some: bool, checkpointing: bool) -> None:
    loaded = tuned(name, kind)
    texts = texts_of(LENGTHS)
    chosen = [2, 6, 7, 19, 33] if some else list(range(sum(LENGTHS)))
    loaded.activation_checkpointing = checkpointing
    loaded.model.train()
    ids, batch = loaded.pack([t.tolist() for t in texts])
    found = loaded.hidden_states(ids, batch, chosen if some else None)
    plain = tuned(name, kind)
    expected = torch.cat([alone(plain.model, t) for t in texts])[chosen]
    close(found, expected)
    assert bool(METHODS.get(name).trainable(loaded.model)) == (name in MODEL_TRAINING)
    if name not in MODEL_TRAINING:
        return  # the states alone are left to compare
    weight = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    ours = gradients(name, loaded.model)
    (expected * weight).sum().backward()
    theirs = gradients(name, plain.model)
    assert ours.keys() == theirs.keys() and ours
    for n, gradient in ours.items():
        close(gradient, theirs[n])


def test_decoding_in_pieces_equals_the_whole(name: str, kind: str) -> None:
    loaded = tuned(name, kind)
    texts = texts_of(LENGTHS)
    cache: Any = loaded.new_cache(len(texts))
    pieces: list[list[Tensor]] = [[] for _ in texts]
    with torch.no_grad():
        whole = [alone(loaded.model, t) for t in texts]
        starts = [max(1, len(t) - 3) for t in texts]
        parts = [[t[:n].tolist() for t, n in zip(texts, starts, strict=True)]]
        parts += [
            [[int(t[n + step])] if n + step < len(t) else [1] for t, n in zip(texts, starts, strict=True)]
            for step in range(3)
        ]
        for part in parts:
            ids, batch = loaded.pack(part, cache)
            states = torch.split(loaded.hidden_states(ids, batch), [len(p) for p in part])
            for kept, state in zip(pieces, states, strict=True):
                kept.append(state)
    for text, kept, expected in zip(texts, pieces, whole, strict=True):
        close(torch.cat(kept)[: len(text)], expected)
