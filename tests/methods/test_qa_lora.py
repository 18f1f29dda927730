"""QA-LoRA on a whole model: the paper's equation in plain torch, the merge into 4 bits, refusals, files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods.lora import LORA
from semtune.methods.qa_lora import QA_LORA, QALoRASettings, adapters
from semtune.nn.linear import Int4Linear
from semtune.records import LowRankSettings

SETTINGS = QALoRASettings(precision="int4", rank=4, alpha=6.0, dropout=0.0)
SCALE = 6.0 / 4


@pytest.fixture
def tuned(toy_loaded):
    """A factory: a model with adapters, away from the start."""

    def build(**changes: object):
        loaded = toy_loaded("int4")
        torch.manual_seed(1)
        QA_LORA.attach(loaded, dataclasses.replace(SETTINGS, **changes))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in QA_LORA.trainable(loaded.model).values():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        return loaded

    return build


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "down_proj")])
def test_logits_loss_and_gradients_are_the_papers(targets: tuple[str, ...], tuned, toy_model, ids: Tensor) -> None:
    """A plain model whose weights are W + s (B A), each column of B A for a group of 32 inputs."""
    ours = tuned(targets=targets).model
    twin = toy_model()
    leaves: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for path, layer in ours.named_modules():
        if isinstance(layer, Int4Linear):
            weights[path.removesuffix(".base") + ".weight"] = layer.dequantize(torch.float64)
    for path, adapter in adapters(ours).items():
        a, b = (leaves.setdefault(f"{path}.{n}", getattr(adapter, n).detach().clone().requires_grad_())
                for n in ("lora_A", "lora_B"))  # fmt: skip
        weights[f"{path}.weight"] = weights[f"{path}.weight"] + SCALE * (b @ a).repeat_interleave(32, dim=1)
    theirs = torch.func.functional_call(twin, weights, kwargs={"input_ids": ids, "labels": ids})
    mine = ours(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, theirs.logits, rtol=0, atol=1e-10)
    torch.testing.assert_close(mine.loss, theirs.loss, rtol=0, atol=1e-10)
    mine.loss.backward()
    theirs.loss.backward()
    trained = QA_LORA.trainable(ours)
    assert trained.keys() == leaves.keys()
    for name, leaf in leaves.items():
        assert trained[name].grad.abs().max() > 1e-6
        torch.testing.assert_close(trained[name].grad, leaf.grad, rtol=0, atol=1e-10)


def test_the_merged_model_is_in_4_bits_and_equals_the_unmerged_one(tuned, ids: Tensor) -> None:
    model = tuned().model
    expected = model(input_ids=ids).logits
    codes = {n.replace(".base", ""): b.clone() for n, b in model.named_buffers() if n.endswith(".codes")}
    stored = sum(m.weight_bytes for m in model.modules() if isinstance(m, Int4Linear))
    QA_LORA.merge(model)
    merged = {n: m for n, m in model.named_modules() if isinstance(m, Int4Linear)}
    assert len(merged) == len(codes) == 14 and not QA_LORA.trainable(model)
    assert all(torch.equal(layer.codes, codes[f"{path}.codes"]) for path, layer in merged.items())
    assert sum(m.weight_bytes for m in merged.values()) == stored
    torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=1e-10)


def test_loras_own_merge_into_int4_is_refused(toy_loaded, ids: Tensor) -> None:
    loaded = toy_loaded("int4")
    LORA.attach(loaded, LowRankSettings(rank=2, alpha=4.0, targets=("q_proj",)))
    before = loaded.model(input_ids=ids).logits
    with pytest.raises(MergeRefusedError, match="4-bit weights"):
        LORA.merge(loaded.model)
    assert torch.equal(loaded.model(input_ids=ids).logits, before)


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_a_base_without_float_zero_points_is_refused(precision: str, toy_loaded, ids: Tensor) -> None:
    loaded = toy_loaded(precision)
    before = {name: p.requires_grad for name, p in loaded.model.named_parameters()}
    with pytest.raises(OptionError, match="only --precision int4 has"):
        QA_LORA.attach(loaded, SETTINGS)
    assert {name: p.requires_grad for name, p in loaded.model.named_parameters()} == before


def test_a_target_that_matches_nothing(toy_loaded) -> None:
    with pytest.raises(TargetError, match="q_prj"):
        QA_LORA.attach(toy_loaded("int4"), dataclasses.replace(SETTINGS, targets=("q_prj",)))


@pytest.mark.parametrize("changes", [{"rank": 0}, {"rank": 65}, {"alpha": 0.0}, {"dropout": 1.0}], ids=str)
def test_impossible_settings(changes: dict[str, object], toy_loaded) -> None:
    with pytest.raises(OptionError):
        QA_LORA.attach(toy_loaded("int4"), dataclasses.replace(SETTINGS, **changes))


def test_its_options_are_these() -> None:
    """None of the low-rank family that it would ignore."""
    names = [field.name for field in dataclasses.fields(QALoRASettings)]
    common = ["precision", "learning_rate", "weight_decay", "master_weights"]
    assert names == [*common, "rank", "alpha", "dropout", "targets"]


class TestFiles:
    @pytest.fixture
    def folder(self, tuned, tmp_path: Path) -> Path:
        QA_LORA.save(tuned().model, tmp_path, SETTINGS, "toy")
        return tmp_path

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"rank": 8, "alpha": 12.0}, "rank 4"),
            ({"alpha": 12.0}, "alpha 6"),
            ({"targets": ("q_proj",)}, "no place"),
        ],
    )
    def test_another_adapter(self, folder: Path, changes: dict[str, object], word: str, tuned) -> None:
        with pytest.raises(ModelError, match=word):
            QA_LORA.load(tuned(**changes).model, folder)

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "{}", '{"rank": 4, "alpha": "6"}', '{"rank": 0, "alpha": 6}', '{"rank": 4, "alpha": 6}'],
    )
    def test_a_broken_config(self, folder: Path, text: str, tuned) -> None:
        (folder / "qa_lora_config.json").write_text(text)
        with pytest.raises(ModelError, match=r"qa_lora_config\.json"):
            QA_LORA.load(tuned().model, folder)

    @pytest.mark.parametrize("change", [{"group_size": 64}, {"pooling": "mean"}], ids=str)
    def test_an_adapter_over_other_sums(self, folder: Path, change: dict[str, object], tuned) -> None:
        file = folder / "qa_lora_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with pytest.raises(ModelError, match="sums of groups of 32"):
            QA_LORA.load(tuned().model, folder)

    def test_peft_takes_them_for_nothing_of_its_own(self, folder: Path) -> None:
        peft = pytest.importorskip("peft")
        with pytest.raises(ValueError, match="Can't find 'adapter_config"):
            peft.PeftConfig.from_pretrained(str(folder))


def test_a_bias_is_kept(toy_loaded, ids: Tensor) -> None:
    loaded = toy_loaded("int4", bias=True)
    start = loaded.model(input_ids=ids).logits
    QA_LORA.attach(loaded, SETTINGS)
    assert torch.equal(loaded.model(input_ids=ids).logits, start)
    for adapter in adapters(loaded.model).values():
        nn.init.normal_(adapter.lora_B, std=0.05)
    moved = loaded.model(input_ids=ids).logits
    QA_LORA.merge(loaded.model)
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, moved, rtol=0, atol=1e-10)
