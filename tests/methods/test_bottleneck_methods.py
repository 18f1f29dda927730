"""Houlsby and Pfeiffer adapters against their papers' equations, written out over transformers' modules in fp64."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods._bottleneck import BottleneckSettings
from semtune.methods.houlsby import HOULSBY
from semtune.methods.pfeiffer import PFEIFFER
from semtune.nn.bottleneck import Bottleneck, bottlenecks
from tests.methods.test_trained_parts import other_model, perturb
from tests.nn.test_bottleneck import formula

BOTH = pytest.mark.parametrize("method", [HOULSBY, PFEIFFER], ids=lambda m: m.name)
SETTINGS = BottleneckSettings(reduction_factor=8)


def attached(loaded: Any, method: Any, **changes: Any) -> Any:
    method.attach(loaded, dataclasses.replace(SETTINGS, **changes))
    perturb(method.trainable(loaded.model).values())
    return loaded


def written_out(model: Any, ids: Tensor, adapters: dict[str, Bottleneck]) -> Tensor:
    """Logits of a plain Llama whose blocks are written out here, with adapters after sublayers and blocks."""

    def after(path: str, h: Tensor) -> Tensor:
        return h + formula(adapters[f"{path}.bottleneck"], h) if f"{path}.bottleneck" in adapters else h

    x = model.model.embed_tokens(ids)
    rotary = model.model.rotary_emb(x, position_ids=torch.arange(ids.shape[1])[None])
    for i, block in enumerate(model.model.layers):
        path = f"model.layers.{i}"
        attention, _ = block.self_attn(block.input_layernorm(x), position_embeddings=rotary, attention_mask=None)
        x = x + after(f"{path}.self_attn", attention)
        x = x + after(f"{path}.mlp", block.mlp(block.post_attention_layernorm(x)))
        x = after(path, x)
    return model.lm_head(model.model.norm(x))


@BOTH
@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_logits_and_gradients_are_the_papers(method: Any, activation: str, toy_loaded, toy_model, ids: Tensor) -> None:
    mine, twin = (attached(toy_loaded(), method, activation=activation) for _ in range(2))
    trained, reference = method.trainable(mine.model), method.trainable(twin.model)
    with torch.no_grad():
        for name, parameter in trained.items():
            reference[name].copy_(parameter)
    found, expected = mine.model(input_ids=ids).logits, written_out(toy_model(), ids, bottlenecks(twin.model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    weight = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (found * weight).mean().backward()
    (expected * weight).mean().backward()
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad, reference[name].grad, rtol=0, atol=1e-10)


def test_where_they_are_and_how_large(toy_loaded) -> None:
    loaded = toy_loaded()
    HOULSBY.attach(loaded, HOULSBY.presets["default"])
    paths = [f"model.layers.{i}.{part}.bottleneck" for i in (0, 1) for part in ("self_attn", "mlp")]
    assert sorted(bottlenecks(loaded.model)) == sorted(paths)
    assert {(a.width, a.size, a.activation) for a in bottlenecks(loaded.model).values()} == {(64, 4, "swish")}
    loaded = toy_loaded()
    PFEIFFER.attach(loaded, PFEIFFER.presets["default"])
    assert list(bottlenecks(loaded.model)) == [f"model.layers.{i}.bottleneck" for i in (0, 1)]
    assert {a.activation for a in bottlenecks(loaded.model).values()} == {"relu"}


@BOTH
def test_it_is_not_merged(method: Any, toy_loaded, ids: Tensor) -> None:
    loaded = attached(toy_loaded(), method)
    before = loaded.model(input_ids=ids).logits
    with pytest.raises(MergeRefusedError, match="nonlinear"):
        method.merge(loaded.model)
    assert torch.equal(loaded.model(input_ids=ids).logits, before)


@BOTH
def test_over_4_bits(method: Any, toy_loaded, ids: Tensor) -> None:
    loaded = attached(toy_loaded("nf4"), method)
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in method.trainable(loaded.model).values())


@BOTH
def test_impossible_settings_change_nothing(method: Any, toy_loaded) -> None:
    loaded = toy_loaded()
    before = {name: p.requires_grad for name, p in loaded.model.named_parameters()}
    with pytest.raises(OptionError, match="at most 64"):
        method.attach(loaded, BottleneckSettings(reduction_factor=65))
    assert {name: p.requires_grad for name, p in loaded.model.named_parameters()} == before
    method.attach(loaded, SETTINGS)
    with pytest.raises(OptionError, match="already"):
        method.attach(loaded, SETTINGS)


@pytest.mark.parametrize(("kind", "end"), [("opt", "fc2"), ("gpt2", "mlp")])
def test_the_mlp_of_other_models(kind: str, end: str) -> None:
    loaded = attached(other_model(kind), HOULSBY, reduction_factor=4)
    assert {path.split(".")[-2] for path in bottlenecks(loaded.model)} == {
        end,
        "self_attn" if kind == "opt" else "attn",
    }
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(0))
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in HOULSBY.trainable(loaded.model).values())


def test_sublayers_that_add_the_residual_are_refused_by_houlsby_alone() -> None:
    with pytest.raises(TargetError, match="pfeiffer"):
        HOULSBY.attach(other_model("bloom"), BottleneckSettings(reduction_factor=4))
    attached(other_model("bloom"), PFEIFFER, reduction_factor=4)


@pytest.mark.parametrize(
    ("changes", "word"), [({"activation": "relu"}, "activation"), ({"reduction_factor": 4}, "shape")]
)
def test_files_of_other_adapters(changes: dict[str, Any], word: str, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    loaded = attached(toy_loaded(), HOULSBY)
    HOULSBY.save(loaded.model, tmp_path, SETTINGS, "toy")
    other = attached(toy_loaded(), HOULSBY, **changes)
    before = other.model(input_ids=ids).logits
    with pytest.raises(ModelError, match=word):
        HOULSBY.load(other.model, tmp_path)
    assert torch.equal(other.model(input_ids=ids).logits, before)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"method": "pfeiffer", "activation": "swish"})])
def test_a_broken_config(text: str, toy_loaded, tmp_path: Path) -> None:
    loaded = attached(toy_loaded(), HOULSBY)
    HOULSBY.save(loaded.model, tmp_path, SETTINGS, "toy")
    (tmp_path / "bottleneck.json").write_text(text)
    with pytest.raises(ModelError, match=r"bottleneck\.json"):
        HOULSBY.load(loaded.model, tmp_path)


def test_a_start_depends_on_the_seed_alone(toy_loaded) -> None:
    starts = []
    for seed in (0, 0, 1):
        loaded = toy_loaded()
        torch.manual_seed(seed)
        HOULSBY.attach(loaded, SETTINGS)
        starts.append(next(iter(bottlenecks(loaded.model).values())).down_weight)
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert all(isinstance(start, nn.Parameter) for start in starts)
