"""Frozen weights in their file's half precision give the numbers of fp32 weights; bf16 runs give those of torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import OptionError
from semtune.models.architectures.panel_conv1d import PanelConv1D
from semtune.models.half_storage import UpcastEmbedding
from semtune.models.loaded import TransformersModel
from semtune.models.loading import load
from semtune.nn import panels
from semtune.nn.linear import PanelLinear, UpcastLinear
from semtune.nn.packed_batch import PackedBatch
from semtune.registry import METHODS

from .tiny_types import save_tiny

IDS = torch.tensor([5, 80, 31, 200, 7, 9])
TARGETS = torch.tensor([80, 31, 200, 7, 9, 11])
HALF = (torch.bfloat16, torch.float16)


def loss_of(loaded: TransformersModel) -> Tensor:
    return loaded.next_token_loss(loaded.hidden_states(IDS, PackedBatch((len(IDS),))), TARGETS)


def logits(loaded: TransformersModel) -> Tensor:
    with torch.no_grad():
        return loaded.logits(loaded.hidden_states(IDS, PackedBatch((len(IDS),))))


def save_half(model_type: str, folder: Path, dtype: torch.dtype, **changes: object) -> Path:
    model = save_tiny(model_type, folder, **changes)
    model.to(dtype).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "opt", "gemma3_text"])
def test_the_same_numbers_in_half_the_memory(model_type: str, tied: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = str(save_half(model_type, tmp_path, dtype, tie_word_embeddings=tied))
    whole, half = (load(folder, precision="fp32", device="cpu", frozen=frozen) for frozen in (False, True))
    assert all(isinstance(layer, UpcastLinear) for layer in half.linears().values())
    torch.testing.assert_close(logits(half), logits(whole), rtol=1e-5, atol=1e-5)
    assert half.compute_dtype == logits(half).dtype == torch.float32
    plain_embeddings = model_type != "gemma3_text"  # whose class scales the vectors, in the dtype of the weight
    embedding, head = half.model.get_input_embeddings(), half.model.get_output_embeddings()  # type: ignore[operator]
    assert isinstance(embedding, UpcastEmbedding) == plain_embeddings
    assert (embedding.weight.dtype in HALF) == plain_embeddings
    assert (head.weight is embedding.weight) == tied
    assert (head.weight.dtype in HALF) == (plain_embeddings or not tied)
    assert isinstance(head, PanelLinear) or head.weight.dtype not in HALF


def test_files_in_fp32_stay_in_fp32(model_folder: Callable[..., Path]) -> None:
    loaded = load(str(model_folder("llama")), precision="fp32", device="cpu", frozen=True)
    assert all(isinstance(layer, nn.Linear) for layer in loaded.linears().values())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp64", "nf4"])
def test_other_precisions_are_as_before(precision: str, tmp_path: Path) -> None:
    folder = str(save_half("llama", tmp_path, torch.bfloat16))
    loaded = load(folder, precision=precision, device="cpu", frozen=True)
    assert not any(isinstance(module, UpcastLinear) for module in loaded.model.modules())


def test_full_fine_tuning_of_such_a_model_is_refused(tmp_path: Path) -> None:
    folder = str(save_half("llama", tmp_path, torch.bfloat16))
    loaded = load(folder, precision="fp32", device="cpu", frozen=True)
    method = METHODS.get("full")
    with pytest.raises(OptionError, match="half precision"):
        method.attach(loaded, method.presets["default"])


def test_merging_is_that_of_fp32_weights(tmp_path: Path) -> None:
    folder = str(save_half("llama", tmp_path, torch.bfloat16))
    method = METHODS.get("lora")
    weights = []
    for frozen in (False, True):
        loaded = load(folder, precision="fp32", device="cpu", frozen=frozen)
        torch.manual_seed(1)
        method.attach(loaded, method.presets["report"])
        for parameter in method.trainable(loaded.model).values():
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
        method.merge(loaded.model)
        weights.append({path: layer.weight for path, layer in loaded.linears().items() if path.endswith("q_proj")})
    for path, weight in weights[0].items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weights[1][path])


@pytest.mark.parametrize(
    ("name", "model_type"),
    [*itertools.product(["full", "lora", "dora"], ["llama", "opt"]), ("full", "gpt2"), ("bitfit", "gpt2")],
)
def test_a_bf16_step_has_the_values_of_torch(
    name: str, model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients with products in fp32 panels, beside those of bf16 products as torch computes them."""
    folder = str(save_half(model_type, tmp_path, torch.bfloat16))
    method = METHODS.get(name)
    results = []
    for native in (True, False):
        monkeypatch.setattr(panels, "native_bf16", lambda device_type="cpu", native=native: native)
        loaded = load(folder, precision="bf16", device="cpu")
        torch.manual_seed(1)
        method.attach(loaded, method.presets["report"])
        for key, parameter in method.trainable(loaded.model).items():
            if key.endswith("lora_B"):
                parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
        loss = loss_of(loaded)
        loss.backward()
        gradients = {key: p.grad for key, p in method.trainable(loaded.model).items()}
        results.append((loss.detach(), gradients))
        assert any(isinstance(m, PanelLinear | PanelConv1D) for m in loaded.model.modules()) != native
    (loss, expected), (ours, gradients) = results
    torch.testing.assert_close(ours, loss, rtol=1e-2, atol=1e-2)
    assert expected.keys() == gradients.keys()
    for key, gradient in expected.items():
        assert gradient is not None and gradients[key] is not None, key
        assert (gradients[key].double() - gradient.double()).norm() <= 0.05 * gradient.double().norm() + 1e-6, key
