"""Starts computed from the weights: PiSSA, QPiSSA and LoftQ against their equations in fp64, bitsandbytes and PEFT."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import MergeRefusedError, ModelError, OptionError
from semtune.methods._low_rank import adapters
from semtune.methods._starts import principal_factors
from semtune.nn.linear import NF4Linear, as_linear_layer
from semtune.nn.linear.frozen import plain_linear
from semtune.records import LowRankSettings, RunSpec
from semtune.registry import METHODS
from semtune.specs import resolve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = {"rtol": 0.0, "atol": 1e-10}
RANK, ALPHA, SCALE = 4, 6.0, 1.5
PISSA = LowRankSettings(rank=RANK, alpha=ALPHA, targets=("all-linear",), start="pissa", svd_iterations=0)
QPISSA = dataclasses.replace(PISSA, precision="nf4")
LOFTQ = dataclasses.replace(QPISSA, start="loftq", dropout=0.1)
STARTS = {
    "lora pissa": ("lora", PISSA),
    "lora pissa rslora": ("lora", dataclasses.replace(PISSA, scaling="rslora")),
    "dora pissa": ("dora", PISSA),
    "lora pissa randomised": ("lora", dataclasses.replace(PISSA, svd_iterations=8)),
    "qlora pissa": ("qlora", QPISSA),
    "qdora pissa": ("qdora", QPISSA),
    "qlora loftq": ("qlora", LOFTQ),
    "qdora loftq": ("qdora", LOFTQ),
    "qlora loftq 3": ("qlora", dataclasses.replace(LOFTQ, loftq_iterations=3)),
    "qdora loftq 2": ("qdora", dataclasses.replace(LOFTQ, loftq_iterations=2)),
}


def tuned(which: str, toy_loaded: Any, **changes: Any) -> Any:
    """The toy model with the method attached, in evaluation mode."""
    name, settings = STARTS[which]
    settings = dataclasses.replace(settings, **changes)
    loaded = toy_loaded(settings.precision if settings.precision == "nf4" else "fp32")
    torch.manual_seed(1)
    METHODS.get(name).attach(loaded, settings)
    loaded.model.eval()
    return loaded


def perturb(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def rounded(weight: Tensor) -> Tensor:
    """`weight` in NF4 with double quantisation and back, by bitsandbytes."""
    import bitsandbytes.functional as bnb

    codes, state = bnb.quantize_4bit(weight.float(), blocksize=64, quant_type="nf4", compress_statistics=True)
    return bnb.dequantize_4bit(codes, state).double()


def best(matrix: Tensor) -> Tensor:
    """The best approximation of rank `RANK`."""
    u, s, vh = torch.linalg.svd(matrix)
    return (u[:, :RANK] * s[:RANK]) @ vh[:RANK]


def product(adapter: Any) -> Tensor:
    return adapter.scale * adapter.lora_B.detach() @ adapter.lora_A.detach()


@pytest.mark.parametrize("which", [which for which in STARTS if which.startswith(("lora", "dora"))])
def test_pissa_over_plain_weights_computes_what_the_model_did(which: str, toy_loaded, toy_model, ids: Tensor) -> None:
    model = tuned(which, toy_loaded).model
    torch.testing.assert_close(model(input_ids=ids).logits, toy_model()(input_ids=ids).logits, **CLOSE)


def test_pissa_splits_every_weight_by_its_singular_values(toy_loaded, toy_model) -> None:
    """Meng et al. 2024, equations 2 to 4, with the scale taken out of both factors alike."""
    original = toy_model()
    for path, adapter in adapters(tuned("lora pissa", toy_loaded).model).items():
        weight = original.get_submodule(path).weight.detach()
        torch.testing.assert_close(product(adapter), best(weight), **CLOSE)
        torch.testing.assert_close(adapter.base.weight, weight - best(weight), **CLOSE)
        singular = torch.linalg.svdvals(weight)[:RANK] / SCALE
        torch.testing.assert_close(adapter.lora_A.detach().norm(dim=1), singular.sqrt(), **CLOSE)
        torch.testing.assert_close(adapter.lora_B.detach().norm(dim=0), singular.sqrt(), **CLOSE)


def test_pissa_against_peft(toy_loaded, toy_model, ids: Tensor) -> None:
    """Base, outputs and gradients; PEFT decomposes in fp32, and each pair of singular vectors has a sign of its own."""
    ours = tuned("lora pissa", toy_loaded).model
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, init_lora_weights="pissa", lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )  # fmt: skip
    theirs = peft.get_peft_model(toy_model().float(), config).double().eval()
    mine, other = ours(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, other.logits, rtol=0, atol=1e-4)
    mine.loss.backward()
    other.loss.backward()
    named, near = dict(theirs.named_parameters()), {"rtol": 1e-4, "atol": 1e-5}
    for path, adapter in adapters(ours).items():
        prefix = f"base_model.model.{path}"
        a, b = named[f"{prefix}.lora_A.default.weight"], named[f"{prefix}.lora_B.default.weight"]
        torch.testing.assert_close(adapter.base.weight, named[f"{prefix}.base_layer.weight"], **near)
        signs = (adapter.lora_A * a).sum(dim=1).sign()
        torch.testing.assert_close(adapter.lora_A.grad, a.grad * signs.unsqueeze(1), **near)
        torch.testing.assert_close(adapter.lora_B.grad, b.grad * signs, **near)


def test_qpissa_rounds_the_residual_alone(toy_loaded, toy_model) -> None:
    original = toy_model()
    for path, adapter in adapters(tuned("qlora pissa", toy_loaded).model).items():
        weight = original.get_submodule(path).weight.detach()
        torch.testing.assert_close(product(adapter), best(weight), **CLOSE)
        base = as_linear_layer(adapter.base).dequantize(torch.float64)
        assert isinstance(adapter.base, NF4Linear)
        torch.testing.assert_close(base, rounded(weight - product(adapter)), **CLOSE)
        assert (weight - base - product(adapter)).norm() < 0.97 * (weight - rounded(weight)).norm()


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_loftq_alternates_rounding_and_decomposing(iterations: int, toy_loaded, toy_model) -> None:
    """Li et al. 2023, algorithm 1; the base is rounded by bitsandbytes."""
    original = toy_model()
    for path, adapter in adapters(tuned("qlora loftq", toy_loaded, loftq_iterations=iterations).model).items():
        weight = original.get_submodule(path).weight.detach()
        low_rank = torch.zeros_like(weight)
        for _ in range(iterations):
            base = rounded(weight - low_rank)
            low_rank = best(weight - base)
        torch.testing.assert_close(as_linear_layer(adapter.base).dequantize(torch.float64), base, **CLOSE)
        torch.testing.assert_close(product(adapter), low_rank, **CLOSE)
        assert (weight - base - low_rank).norm() < 0.97 * (weight - rounded(weight)).norm()
        assert (adapter.subtracted is None) == (iterations == 1)


@pytest.mark.parametrize("which", [which for which in STARTS if which.startswith("qdora")])
def test_magnitudes_begin_as_the_norms_of_base_and_adapter_together(which: str, toy_loaded) -> None:
    for adapter in adapters(tuned(which, toy_loaded).model).values():
        together = as_linear_layer(adapter.base).dequantize(torch.float64) + product(adapter)
        torch.testing.assert_close(adapter.magnitude.detach(), together.norm(dim=1), **CLOSE)


@pytest.mark.parametrize("which", list(STARTS))
def test_files_restore_the_outputs_to_the_bit(which: str, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    method, settings = METHODS.get(STARTS[which][0]), STARTS[which][1]
    model, other = tuned(which, toy_loaded).model, tuned(which, toy_loaded).model
    perturb(model)
    expected = model(input_ids=ids).logits
    method.save(model, tmp_path, settings, "toy")
    assert not torch.equal(other(input_ids=ids).logits, expected)
    method.load(other, tmp_path)
    assert torch.equal(other(input_ids=ids).logits, expected)


@pytest.mark.parametrize("which", [which for which in STARTS if which.startswith(("lora", "dora"))])
def test_peft_reads_a_changed_base_as_an_adapter_over_the_published_one(
    which: str, toy_loaded, toy_model, ids: Tensor, tmp_path: Path
) -> None:
    method, settings = METHODS.get(STARTS[which][0]), STARTS[which][1]
    model = tuned(which, toy_loaded).model
    perturb(model)
    method.save(model, tmp_path, settings, "toy")
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path)).eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, model(input_ids=ids).logits, **CLOSE)
    # and so do we, with twice the rank
    doubled = dataclasses.replace(
        settings, start="kaiming", rank=2 * RANK, alpha=ALPHA * (2**0.5 if settings.scaling == "rslora" else 2)
    )
    plain = toy_loaded()
    method.attach(plain, doubled)
    method.load(plain.model, tmp_path)
    torch.testing.assert_close(plain.model(input_ids=ids).logits, model(input_ids=ids).logits, **CLOSE)


@pytest.mark.parametrize("which", [which for which in STARTS if which.startswith(("lora", "dora"))])
def test_merging_keeps_the_outputs(which: str, toy_loaded, ids: Tensor) -> None:
    model = tuned(which, toy_loaded).model
    perturb(model)
    expected = model(input_ids=ids).logits
    METHODS.get(STARTS[which][0]).merge(model)
    assert not adapters(model)
    torch.testing.assert_close(model(input_ids=ids).logits, expected, **CLOSE)


@pytest.mark.parametrize(
    ("written", "read"), [*itertools.permutations(["qlora pissa", "qlora loftq", "qlora loftq 3"], 2)]
)
def test_the_file_of_another_start_is_refused(written: str, read: str, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    """Between bases that differ. LoftQ with one iteration leaves the base alone, so its file has the plain rank."""
    method, settings = METHODS.get("qlora"), STARTS[written][1]
    method.save(tuned(written, toy_loaded).model, tmp_path, settings, "toy")
    model = tuned(read, toy_loaded).model
    before = model(input_ids=ids).logits
    with pytest.raises(ModelError, match=r"start|rank"):
        method.load(model, tmp_path)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_a_start_that_another_machine_computed_is_read(toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    """There singular vectors may have the other sign, and other last bits: the part they make is the same."""
    model, other = tuned("qlora pissa", toy_loaded).model, tuned("qlora pissa", toy_loaded).model
    perturb(model)
    METHODS.get("qlora").save(model, tmp_path, QPISSA, "toy")
    for adapter in adapters(other).values():
        adapter.subtracted_a.mul_(-1 - 1e-7)
        adapter.subtracted_b.mul_(-1)
    METHODS.get("qlora").load(other, tmp_path)
    assert torch.equal(other(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("shape", [(96, 40), (40, 96), (12, 60)])
def test_the_randomised_decomposition_is_nearly_the_best(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)  # the hardest case: singular values that fall slowly
    exact = principal_factors(matrix, 8, SCALE, 0)
    least = (matrix - SCALE * exact.b @ exact.a).norm()
    singular = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(least, singular[8:].norm(), **CLOSE)
    state = torch.get_rng_state()
    for iterations, excess in ((1, 1.1), (16, 1.003)):
        found = principal_factors(matrix, 8, SCALE, iterations)
        assert least <= (matrix - SCALE * found.b @ found.a).norm() < excess * least
        again = principal_factors(matrix, 8, SCALE, iterations)
        assert torch.equal(found.a, again.a)
    assert torch.equal(torch.get_rng_state(), state)  # what is drawn after it does not depend on it


@pytest.mark.parametrize(
    ("method", "options", "advice"),
    [
        ("lora", {"start": "pissa"}, "dropout 0"),  # the preset has dropout
        ("lora", {"start": "loftq"}, "nf4"),
        ("qlora", {"start": "loftq", "precision": "bf16"}, "nf4"),
        ("dora", {"freeze_a": True, "lora_plus_ratio": 16.0}, "leave one"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_anything_is_loaded(
    method: str, options: dict[str, Any], advice: str
) -> None:
    with pytest.raises(OptionError, match=advice):
        resolve(RunSpec(task="practice", model="/no/such/model", method=method, method_options=options))


@pytest.mark.parametrize("which", [which for which in STARTS if which.startswith("q")])
def test_a_quantised_start_merges_into_the_values_of_its_base(
    which: str, toy_loaded, ids: Tensor, tmp_path: Path
) -> None:
    """Over the weights as published it would be wrong: the adapter has a part of what rounding them lost."""
    method, settings = METHODS.get(STARTS[which][0]), STARTS[which][1]
    model = tuned(which, toy_loaded).model
    perturb(model)
    expected = model(input_ids=ids).logits
    with pytest.raises(MergeRefusedError, match="semtune merge --dequantize"):
        method.merge(model)
    assert torch.equal(model(input_ids=ids).logits, expected)
    method.save(model, tmp_path, settings, "toy")
    cached = toy_loaded("nf4")
    for path, layer in cached.linears().items():
        cached.model.set_submodule(path, plain_linear(layer.dequantize(torch.float64), None))
    method.attach(cached, dataclasses.replace(settings, precision="nf4-cached"))
    cached.model.eval()
    method.load(cached.model, tmp_path)
    torch.testing.assert_close(cached.model(input_ids=ids).logits, expected, **CLOSE)
    method.merge(cached.model)
    assert not adapters(cached.model)
    torch.testing.assert_close(cached.model(input_ids=ids).logits, expected, **CLOSE)
