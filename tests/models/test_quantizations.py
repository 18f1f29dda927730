"""A quantisation that no file of semtune knows: registered here, tuned over, saved, loaded, planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.approaches.tuned_model import TunedModel
from semtune.errors import MergeRefusedError, OptionError, UnknownNameError
from semtune.models.loading import compute_dtype, dtype_of, load, quantization_of
from semtune.nn.int4 import quantize_int4
from semtune.nn.linear import Int4Linear, NF4Linear, is_linear_layer
from semtune.nn.linear.frozen import plain_linear
from semtune.nn.offloaded import OffloadedLinear
from semtune.records import Example, RunSpec, SingleLabel, TargetSpace
from semtune.registry import METHODS, QUANTIZATIONS
from semtune.specs import resolve
from semtune.specs.precision import normalise_precision, precisions
from semtune.training.optimizer import Optimizer
from semtune.training.schedule import Schedule

from ..openness.plugin_answers import Int8 as RowwiseInt8
from ..openness.plugin_answers import Int8Linear

CPU = torch.device("cpu")
NAME = "toy-int8"
MOODS = TargetSpace("single_label", ("good", "bad"))
EXAMPLES = [
    Example("0", "the soup was warm and kind", SingleLabel("good")),
    Example("1", "a cold and bitter soup", SingleLabel("bad")),
    Example("2", "kind people and warm bread", SingleLabel("good")),
]


class Int8(RowwiseInt8):
    name = NAME
    note: str | None = "int8: for tests alone"


class Halves(Int8):
    """Rounds to multiples of 1/64 and stores plain weights, which can be offloaded."""

    name = "toy-halves"
    offloadable = True
    note = None

    def quantize(self, weight: Tensor, bias: Tensor | None, compute_dtype: torch.dtype) -> nn.Module:
        assert bias is None
        return plain_linear((weight * 64).round().div(64).to(compute_dtype), None)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered for one test; by object and by location."""
    monkeypatch.setattr(QUANTIZATIONS, "_entries", dict(QUANTIZATIONS._entries))
    QUANTIZATIONS.register(NAME, Int8(), "int8 weights, one scale a row")
    QUANTIZATIONS.register("toy-halves", f"{__name__}:HALVES", "multiples of 1/64")
    yield


HALVES = Halves()


def build(model: Path, method: str) -> TunedModel:
    spec = resolve(
        RunSpec(
            "practice", model=str(model), method=method, readout="head", max_length=64, device="cpu",
            method_options={"precision": NAME, "learning_rate": 1e-2} | ({} if method == "full" else {"dropout": 0.0}),
        )
    )  # fmt: skip
    tuned = TunedModel.build(spec, MOODS)
    tuned.readout.prepare(EXAMPLES)
    return tuned


def train(tuned: TunedModel, steps: int = 12) -> list[float]:
    optimizer = Optimizer(tuned.groups(), Schedule(steps, 0.1))
    batch = [tuned.readout.encode(example) for example in EXAMPLES]
    losses = []
    tuned.loaded.model.train()
    for _ in range(steps):
        loss, count = tuned.readout.loss(batch)
        (loss / count).backward()
        optimizer.accumulate()
        optimizer.step()
        losses.append(loss.item() / count)
    return losses


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_tuned_saved_and_loaded(method: str, tiny_model: Path, tmp_path: Path) -> None:
    tuned = build(tiny_model, method)
    assert all(isinstance(layer, Int8Linear) for layer in tuned.loaded.linears().values())
    assert "int8: for tests alone" in tuned.loaded.notes
    codes = {n: b.clone() for n, b in tuned.loaded.model.named_buffers() if n.endswith("codes")}
    assert len(codes) == 14
    losses = train(tuned)
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(b, codes[n]) for n, b in tuned.loaded.model.named_buffers() if n in codes)
    tuned.save(tmp_path / "adapter")
    answers = tuned.predict(EXAMPLES)
    other = build(tiny_model, method)
    other.restore(tmp_path / "adapter")
    assert other.predict(EXAMPLES) == answers
    with pytest.raises(MergeRefusedError, match=r"q_proj has int8 weights: .* --dequantize"):
        tuned.method.merge(tuned.loaded.model)
    assert tuned.predict(EXAMPLES) == answers


def test_numbers_are_counted_though_they_are_no_parameters(tiny_model: Path) -> None:
    int8, fp32 = (load(str(tiny_model), precision=p, device="cpu") for p in (NAME, "fp32"))
    spec = resolve(RunSpec("practice", readout="generate", method="lora"))
    counts = [TunedModel(spec, loaded, MOODS).total_parameters() for loaded in (int8, fp32)]
    assert counts[0] == counts[1]


def test_full_fine_tuning_refuses_it(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="cannot train int8 weights"):
        build(tiny_model, "full")


@pytest.mark.parametrize("precision", ["nf4", "nf4-cached", "int4", "toy-halves", NAME])
def test_full_fine_tuning_refuses_weights_that_were_rounded_however_they_are_stored(
    tiny_model: Path, precision: str
) -> None:
    loaded = load(str(tiny_model), precision=precision, device="cpu")
    full = METHODS.get("full")
    with pytest.raises(OptionError, match=r"Full fine-tuning cannot train .*; choose precision fp32 or bf16"):
        full.attach(loaded, replace(full.presets["default"], precision=precision))


def test_offloading_asks_the_quantisation(tiny_model: Path) -> None:
    for precision in ("nf4", "nf4-cached", "int4", NAME):
        with pytest.raises(OptionError, match=f"{precision} cannot be offloaded"):
            load(str(tiny_model), precision=precision, device="cpu", offload_bytes=1)
    plain = load(str(tiny_model), precision="toy-halves", device="cpu")
    loaded = load(str(tiny_model), precision="toy-halves", device="cpu", offload_bytes=10**9)
    for path, layer in loaded.linears().items():
        assert isinstance(layer, OffloadedLinear)
        assert torch.equal(layer.weight, plain.model.get_submodule(path).weight)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(loaded.model(ids).logits, plain.model(ids).logits)


def test_cached_nf4_has_the_bits_of_nf4(tiny_model: Path) -> None:
    cached, stored = (load(str(tiny_model), precision=p, device="cpu") for p in ("nf4-cached", "nf4"))
    for path, layer in stored.linears().items():
        plain = cached.model.get_submodule(path)
        assert isinstance(layer, NF4Linear) and isinstance(plain, nn.Linear)
        assert torch.equal(plain.weight, layer.dequantize())
        assert plain.weight.dtype == cached.compute_dtype and not plain.weight.requires_grad


def test_precisions_follow_the_registry() -> None:
    assert set(precisions()) == {"auto", "fp32", "bf16", "fp64", "nf4", "nf4-cached", "int4", NAME, "toy-halves"}
    assert normalise_precision("compute") == "auto"
    assert dtype_of("compute", bf16=True) == dtype_of("auto", bf16=True) == dtype_of(NAME, bf16=True) == torch.bfloat16
    assert dtype_of("auto", bf16=False) == torch.float32
    assert compute_dtype("fp64", CPU) == torch.float64
    assert quantization_of("compute") is None and quantization_of("bf16") is None
    assert quantization_of(NAME).name == NAME
    for check in (normalise_precision, quantization_of, lambda name: dtype_of(name, bf16=True)):
        with pytest.raises(OptionError, match='There is no precision "toy-int4"; did you mean "toy-int8"'):
            check("toy-int4")


def test_every_registered_quantisation_keeps_its_contract() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 64)
    for name in QUANTIZATIONS:
        quantization = QUANTIZATIONS.get(name)
        assert quantization.name == name
        layer = quantization.quantize(weight, None, torch.float32)
        assert is_linear_layer(layer)
        assert not any(p.requires_grad for p in layer.parameters())
        assert (layer(torch.eye(64)).t() - weight).abs().max() < 0.5


def test_registering_refuses_a_taken_name_and_a_broken_location() -> None:
    with pytest.raises(OptionError, match='called "nf4" already'):
        QUANTIZATIONS.register("nf4", Int8(), "")
    with pytest.raises(OptionError, match='"nowhere" is not of the form'):
        QUANTIZATIONS.register("other", "nowhere", "")
    assert "other" not in QUANTIZATIONS
    with pytest.raises(UnknownNameError, match="There is no quantisation"):
        QUANTIZATIONS.get("other")
    assert QUANTIZATIONS.summary(NAME) == "int8 weights, one scale a row"


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_int4_quantises_the_decoder_and_nothing_else(model_folder: Callable[..., Path], kind: str) -> None:
    """A folder with and one without biases; 96 inputs of the MLP's last layer are three groups, 64 elsewhere two."""
    folder = model_folder(kind)
    loaded, plain = (load(str(folder), precision=p, device="cpu") for p in ("int4", "fp32"))
    assert isinstance(loaded.model.lm_head, nn.Linear)
    layers = loaded.linears()
    assert len(layers) == 14
    for path, layer in layers.items():
        assert isinstance(layer, Int4Linear)
        linear = plain.model.get_submodule(path)
        assert torch.equal(layer.zeros, quantize_int4(linear.weight).zeros)
        assert (layer.bias is None) == (linear.bias is None)
        linear.weight.data = layer.dequantize(torch.float32)
    ids = torch.tensor([[1, 2, 3, 4]])
    tolerance = 2e-2 if loaded.compute_dtype == torch.bfloat16 else 1e-5
    ours, theirs = loaded.model(ids).logits.float(), plain.model(ids).logits
    assert (ours - theirs).norm() < tolerance * theirs.norm()
