"""Targets, impossible settings, and adapter files that do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods._low_rank import adapters
from semtune.methods.dora import DORA
from semtune.methods.full import FULL
from semtune.methods.lora import LORA
from semtune.methods.qdora import QDORA
from semtune.methods.qlora import QLORA
from semtune.records import LowRankSettings

BASE = LowRankSettings(rank=4, alpha=8.0, targets=("q_proj",))
LOW_RANK = [LORA, QLORA, DORA, QDORA]


def attach(loaded, method=LORA, **changes: object) -> tuple[str, ...]:
    method.attach(loaded, dataclasses.replace(BASE, **changes))
    return tuple(adapters(loaded.model))


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (("all-linear",), 14),
        (("q_proj", "v_proj"), 4),
        (("q", "up"), 4),
        (("self_attn.o_proj",), 2),
        (("model.layers.1.mlp.down_proj",), 1),
        (("q_proj", "q", "model.layers.0.self_attn.q_proj"), 2),
    ],
)
def test_targets(targets: tuple[str, ...], count: int, toy_loaded) -> None:
    paths = attach(toy_loaded(), targets=targets)
    assert len(paths) == count
    assert all(path.startswith("model.layers.") for path in paths)


@pytest.mark.parametrize("method", LOW_RANK, ids=lambda m: m.name)
@pytest.mark.parametrize("target", ["q_prj", "proj", "lm_head", "self_attn", "", "rope"])
def test_a_target_that_matches_nothing(method, target: str, toy_loaded) -> None:
    loaded = toy_loaded()
    before = {name: p.requires_grad for name, p in loaded.model.named_parameters()}
    with pytest.raises(TargetError) as caught:
        attach(loaded, method, targets=("v_proj", target))
    assert f'"{target}"' in str(caught.value) and "down_proj" in str(caught.value)
    assert tuple(adapters(loaded.model)) == ()
    assert {name: p.requires_grad for name, p in loaded.model.named_parameters()} == before


def test_the_near_miss_is_suggested(toy_loaded) -> None:
    with pytest.raises(TargetError, match='did you mean "q_proj"'):
        attach(toy_loaded(), targets=("q_prj",))


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"rank": -3},
        {"rank": 65},
        {"rank": 33, "targets": ("k_proj",)},  # (32, 64)
        {"alpha": 0.0},
        {"alpha": -1.0},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": float("nan")},
        {"targets": ()},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", LOW_RANK, ids=lambda m: m.name)
def test_impossible_settings(method, changes: dict[str, object], toy_loaded) -> None:
    loaded = toy_loaded()
    with pytest.raises(OptionError):
        attach(loaded, method, **changes)
    assert tuple(adapters(loaded.model)) == ()


def test_attaching_twice_is_refused(toy_loaded) -> None:
    loaded = toy_loaded()
    attach(loaded)
    linears = {path: loaded.model.get_submodule(path) for path in adapters(loaded.model)}
    loaded.linears = lambda: linears
    with pytest.raises(OptionError, match="already"):
        attach(loaded)


def test_full_refuses_a_4_bit_base(toy_loaded) -> None:
    with pytest.raises(OptionError, match="4-bit"):
        FULL.attach(toy_loaded("nf4"), FULL.presets["default"])


@pytest.mark.parametrize("method", LOW_RANK, ids=lambda m: m.name)
def test_any_adapter_goes_over_any_base_but_4_bits_do_not_merge(method, toy_loaded, ids: torch.Tensor) -> None:
    loaded = toy_loaded("nf4")
    attach(loaded, method)
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    with pytest.raises(MergeRefusedError, match="bf16"):
        method.merge(loaded.model)


def test_merge_rounds_once(toy_loaded) -> None:
    loaded = toy_loaded()
    loaded.model.to(torch.bfloat16)
    (path, *_) = attach(loaded)
    adapter = loaded.model.get_submodule(path)
    torch.nn.init.normal_(adapter.lora_B)
    assert adapter.lora_A.dtype == torch.float32
    exact = adapter.base.weight.float() + 2 * adapter.lora_B @ adapter.lora_A
    LORA.merge(loaded.model)
    assert torch.equal(loaded.model.get_submodule(path).weight, exact.to(torch.bfloat16))


def test_dropout_follows_the_models_mode(toy_loaded, ids: torch.Tensor) -> None:
    loaded = toy_loaded()
    paths = attach(loaded, dropout=0.5)
    for path in paths:
        torch.nn.init.normal_(loaded.model.get_submodule(path).lora_B)
    assert torch.equal(loaded.model(input_ids=ids).logits, loaded.model(input_ids=ids).logits)  # evaluating
    loaded.model.train()
    assert not torch.equal(loaded.model(input_ids=ids).logits, loaded.model(input_ids=ids).logits)


class TestFilesThatDoNotFit:
    @pytest.fixture
    def folder(self, toy_loaded, tmp_path: Path) -> Path:
        loaded = toy_loaded()
        attach(loaded)
        LORA.save(loaded.model, tmp_path, BASE, "toy")
        return tmp_path

    @pytest.mark.parametrize(
        ("method", "changes", "word"),
        [
            (LORA, {"rank": 8, "alpha": 16.0}, "rank 4"),
            (LORA, {"alpha": 16.0}, "alpha 8"),
            (LORA, {"targets": ("q_proj", "v_proj")}, "lacks"),
            (LORA, {"targets": ("model.layers.0.self_attn.q_proj",)}, "no place"),
            (LORA, {"targets": ("o_proj",)}, "lacks"),
            (DORA, {}, "without DoRA"),
        ],
    )
    def test_another_adapter(self, folder: Path, method, changes: dict[str, object], word: str, toy_loaded) -> None:
        loaded = toy_loaded()
        attach(loaded, method, **changes)
        with pytest.raises(ModelError, match=word):
            method.load(loaded.model, folder)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            '"x"',
            "{}",
            '{"peft_type": "IA3"}',
            '{"peft_type": "LORA"}',
            '{"peft_type": "LORA", "r": 0}',
            '{"peft_type": "LORA", "r": 4, "lora_alpha": "8"}',
        ],
    )
    def test_a_broken_config(self, folder: Path, text: str, toy_loaded) -> None:
        (folder / "adapter_config.json").write_text(text)
        self.refused(folder, toy_loaded)

    @pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b'{"peft_type": "LORA"\x00'])
    def test_a_config_that_is_not_text(self, folder: Path, raw: bytes, toy_loaded) -> None:
        (folder / "adapter_config.json").write_bytes(raw)
        self.refused(folder, toy_loaded)

    @pytest.mark.parametrize("key", ["use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save"])
    def test_peft_features_that_would_be_misread(self, folder: Path, key: str, toy_loaded) -> None:
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, key: {"q_proj": "2"}}))
        self.refused(folder, toy_loaded, key)

    def test_no_config(self, folder: Path, toy_loaded) -> None:
        (folder / "adapter_config.json").unlink()
        self.refused(folder, toy_loaded)

    def refused(self, folder: Path, toy_loaded, word: str = "adapter_config.json") -> None:
        loaded = toy_loaded()
        attach(loaded)
        with pytest.raises(ModelError, match=word):
            LORA.load(loaded.model, folder)
