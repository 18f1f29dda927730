"""BitFit, LN-tuning and tuning of the last blocks: what is trained, against transformers' own model in fp64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from semtune.errors import MergeRefusedError, OptionError, TargetError
from semtune.methods.bitfit import BITFIT, BitFitSettings
from semtune.methods.last_layers import LAST_LAYERS, LastLayersSettings
from semtune.methods.ln_tuning import LN_TUNING, LNTuningSettings
from semtune.models.architectures import install
from semtune.models.loaded import TransformersModel

SMALL: dict[str, dict[str, Any]] = {
    "opt": {
        "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 40,
        "word_embed_proj_dim": 16, "max_position_embeddings": 32,
    },
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "n_positions": 32},
    "bloom": {"hidden_size": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40},
    "qwen2": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": 40,
    },
}  # fmt: skip
CLASSES = {
    "opt": (OPTConfig, OPTForCausalLM),
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "bloom": (BloomConfig, BloomForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
WITH_LAYER_NORMS = ("opt", "gpt2", "bloom")


def other_model(kind: str) -> TransformersModel:
    """Models whose norms and biases are called and placed otherwise than Llama's."""
    torch.manual_seed(0)
    config, cls = CLASSES[kind]
    model = cls(config(**SMALL[kind])).double().eval()
    install(model)
    return TransformersModel(model, None, kind, torch.float64, torch.device("cpu"), 16)  # type: ignore[arg-type]


def perturb(parameters: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


class TestBitFit:
    def test_added_biases_are_those_that_transformers_has(self, toy_loaded, toy_model, ids: Tensor) -> None:
        """A Llama whose config asks for all biases is the oracle: outputs and gradients."""
        loaded = toy_loaded()
        BITFIT.attach(loaded, BitFitSettings())
        config = loaded.model.config.to_dict() | {"attention_bias": True, "mlp_bias": True}
        theirs = type(loaded.model)(type(loaded.model.config)(**config)).double().eval()
        trained = BITFIT.trainable(loaded.model)
        perturb(trained.values())
        theirs.load_state_dict(loaded.model.state_dict())
        assert {n for n, _ in theirs.named_parameters() if n.endswith(".bias")} == set(trained)
        mine, other = loaded.model(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
        torch.testing.assert_close(mine.logits, other.logits, rtol=0, atol=1e-10)
        mine.loss.backward()
        other.loss.backward()
        for name, parameter in trained.items():
            torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, rtol=0, atol=1e-10)

    def test_a_model_with_biases_keeps_them(self, toy_loaded) -> None:
        loaded = toy_loaded(bias=True)
        BITFIT.attach(loaded, BitFitSettings(add_missing=False))
        assert {name.split(".")[-2] for name in BITFIT.trainable(loaded.model)} == {
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
        }

    def test_targets_narrow_it_down(self, toy_loaded) -> None:
        loaded = toy_loaded()
        BITFIT.attach(loaded, BitFitSettings(targets=("q", "down")))
        assert {name.split(".")[-2] for name in BITFIT.trainable(loaded.model)} == {"q_proj", "down_proj"}

    def test_without_any_bias_it_says_what_to_do(self, toy_loaded) -> None:
        with pytest.raises(OptionError, match="add_missing"):
            BITFIT.attach(toy_loaded(), BitFitSettings(add_missing=False))

    @pytest.mark.parametrize("kind", WITH_LAYER_NORMS)
    def test_every_bias_of_other_models(self, kind: str) -> None:
        loaded = other_model(kind)
        expected = {
            n for n, _ in loaded.model.named_parameters() if n.endswith(".bias") and "embeddings_layer" not in n
        }
        BITFIT.attach(loaded, BitFitSettings(add_missing=False))
        assert set(BITFIT.trainable(loaded.model)) == expected
        assert any(".ln_f." in n or "norm" in n for n in expected)

    def test_over_4_bits_it_trains_and_merges(self, toy_loaded, ids: Tensor) -> None:
        loaded = toy_loaded("nf4")
        before = loaded.model(input_ids=ids).logits
        BITFIT.attach(loaded, BitFitSettings())
        assert torch.equal(loaded.model(input_ids=ids).logits, before)
        trained = BITFIT.trainable(loaded.model)
        assert len(trained) == 14
        perturb(trained.values())
        loaded.model(input_ids=ids, labels=ids).loss.backward()
        assert all(p.grad is not None for p in trained.values())
        expected = loaded.model(input_ids=ids).logits
        BITFIT.merge(loaded.model)
        assert torch.equal(loaded.model(input_ids=ids).logits, expected)

    @pytest.mark.parametrize("targets", [("all-linear",), ("q",), ("down", "v")])
    def test_transformers_reads_the_merged_model(self, targets, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
        """Also where only some layers got a bias: the config's fields stand for whole groups."""
        loaded = toy_loaded()
        BITFIT.attach(loaded, BitFitSettings(targets=targets))
        perturb(BITFIT.trainable(loaded.model).values())
        expected = loaded.model(input_ids=ids).logits
        BITFIT.merge(loaded.model)
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, rtol=0, atol=1e-12)
        loaded.model.save_pretrained(tmp_path)
        again = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
        torch.testing.assert_close(again(input_ids=ids).logits, expected, rtol=0, atol=1e-10)

    def test_a_config_without_a_field_for_them_is_refused(self) -> None:
        loaded = other_model("qwen2")
        BITFIT.attach(loaded, BitFitSettings(add_missing=False))
        BITFIT.merge(loaded.model)
        BITFIT.attach(loaded, BitFitSettings())
        with pytest.raises(MergeRefusedError, match="no field for it"):
            BITFIT.merge(loaded.model)


class TestLastLayers:
    @pytest.mark.parametrize("blocks", [1, 2, 9])
    def test_gradients_are_those_of_full_tuning(self, blocks: int, toy_loaded, toy_model, ids: Tensor) -> None:
        """The same numbers for what is trained, and no gradient below."""
        loaded, theirs = toy_loaded(), toy_model()
        LAST_LAYERS.attach(loaded, LastLayersSettings(blocks=blocks))
        trained = LAST_LAYERS.trainable(loaded.model)
        first = max(0, 2 - blocks)
        names = {
            n for n, _ in theirs.named_parameters() if n.startswith("model.layers.") and int(n.split(".")[2]) >= first
        }
        assert set(trained) == names | {"model.norm.weight"}
        loaded.model(input_ids=ids, labels=ids).loss.backward()
        theirs(input_ids=ids, labels=ids).loss.backward()
        for name, parameter in trained.items():
            torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, rtol=0, atol=1e-10)

    def test_the_lower_blocks_compute_no_gradient(self, toy_loaded, ids: Tensor) -> None:
        loaded = toy_loaded()
        LAST_LAYERS.attach(loaded, LastLayersSettings(blocks=1))
        below: list[bool] = []
        loaded.blocks()[0].register_forward_hook(lambda *call: below.append(call[2].requires_grad))
        loaded.model(input_ids=ids, labels=ids).loss.backward()
        assert below == [False]

    def test_the_head_only_where_it_is_its_own(self, toy_loaded) -> None:
        loaded = toy_loaded()
        LAST_LAYERS.attach(loaded, LastLayersSettings(blocks=1, train_head=True))
        assert "lm_head.weight" in LAST_LAYERS.trainable(loaded.model)
        with pytest.raises(OptionError, match="leave train_head out"):
            LAST_LAYERS.attach(toy_loaded(tied=True), LastLayersSettings(train_head=True))

    @pytest.mark.parametrize("precision", ["nf4", "nf4-cached"])
    def test_a_quantised_base_is_refused(self, precision: str, toy_loaded) -> None:
        with pytest.raises(OptionError, match="fp32 or bf16"):
            LAST_LAYERS.attach(toy_loaded("nf4"), LastLayersSettings(precision=precision))

    def test_weights_that_are_stored_in_4_bits_are_refused_whatever_is_said(self, toy_loaded) -> None:
        with pytest.raises(OptionError, match="4-bit"):
            LAST_LAYERS.attach(toy_loaded("nf4"), LastLayersSettings(precision="bf16"))


@pytest.mark.parametrize(
    ("kind", "final"),
    [("opt", "model.decoder.final_layer_norm"), ("gpt2", "transformer.ln_f"), ("bloom", "transformer.ln_f")],
)
def test_the_final_norm_of_other_models(kind: str, final: str) -> None:
    """Also where the class registers it before the blocks, or has a norm of the embeddings."""
    loaded = other_model(kind)
    LAST_LAYERS.attach(loaded, LastLayersSettings(blocks=1))
    outside = {name for name in LAST_LAYERS.trainable(loaded.model) if ".2." not in name}
    assert outside == {f"{final}.weight", f"{final}.bias"}
    loaded = other_model(kind)
    LN_TUNING.attach(loaded, LNTuningSettings())
    norms = {
        path for path, m in loaded.model.named_modules() if isinstance(m, nn.LayerNorm) and "embeddings" not in path
    }
    assert {name.rpartition(".")[0] for name in LN_TUNING.trainable(loaded.model)} == norms


def test_the_norms_of_llama(toy_loaded) -> None:
    loaded = toy_loaded()
    LN_TUNING.attach(loaded, LNTuningSettings())
    assert len(LN_TUNING.trainable(loaded.model)) == 5
    loaded = toy_loaded()
    LN_TUNING.attach(loaded, LNTuningSettings(targets=("input_layernorm",)))
    assert list(LN_TUNING.trainable(loaded.model)) == [f"model.layers.{i}.input_layernorm.weight" for i in (0, 1)]
    with pytest.raises(TargetError, match='did you mean "input_layernorm"'):
        LN_TUNING.attach(loaded, LNTuningSettings(targets=("input_layernrm",)))
