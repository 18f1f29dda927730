"""What every registered method must do, whichever it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.contracts import trains_readout_alone
from semtune.errors import MergeRefusedError, ModelError, OutputError
from semtune.nn.low_rank import LowRankLinear
from semtune.nn.scaled_linear import ScaledLinear
from semtune.records import MethodSettings
from semtune.registry import METHODS

pytestmark = pytest.mark.parametrize("name", list(METHODS))


def settings_of(name: str, preset: str = "report") -> MethodSettings:
    settings = METHODS.get(name).presets[preset]
    return dataclasses.replace(settings, dropout=0.0) if hasattr(settings, "dropout") else settings


def trains_model(name: str) -> bool:
    """Whether the method trains parameters of the model; one that does not leaves the model as it is, always."""
    return not trains_readout_alone(METHODS.get(name))


def logits(model: nn.Module, ids: Tensor) -> Tensor:
    return model(input_ids=ids).logits


def loss(model: nn.Module, ids: Tensor) -> Tensor:
    return model(input_ids=ids, labels=ids).loss


def perturb(name: str, model: nn.Module) -> None:
    """One step away from the start, where gradients are not zero for want of B."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in METHODS.get(name).trainable(model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


@pytest.fixture
def attached(name: str, toy_loaded):
    """A factory: the method, its settings, and the LoadedModel it was attached to."""

    def build(preset: str = "report", **options: object):
        settings = settings_of(name, preset)
        loaded = toy_loaded(settings.precision, **options)
        torch.manual_seed(1)
        METHODS.get(name).attach(loaded, settings)
        return METHODS.get(name), settings, loaded

    return build


def test_has_both_presets(name: str) -> None:
    method = METHODS.get(name)
    assert method.name == name
    assert set(method.presets) == {"report", "default"}
    assert issubclass(method.Settings, MethodSettings)
    assert all(type(settings) is method.Settings for settings in method.presets.values())


def test_every_option_says_what_it_is(name: str) -> None:
    for field in dataclasses.fields(METHODS.get(name).Settings):
        assert len(field.metadata["help"]) > 10, field.name


@pytest.mark.parametrize("preset", ["report", "default"])
@pytest.mark.parametrize("tied", [False, True])
def test_no_effect_at_the_start(name: str, preset: str, tied: bool, attached, toy_loaded, ids: Tensor) -> None:
    method, settings, loaded = attached(preset, tied=tied)
    before, after = logits(toy_loaded(settings.precision, tied=tied).model, ids), logits(loaded.model, ids)
    if not hasattr(method, "start_effect"):
        assert torch.equal(after, before)
        return
    assert len(method.start_effect) > 20 and "\n" not in method.start_effect  # the reason, for a reader
    assert after.isfinite().all() and not torch.equal(after, before)
    assert torch.equal(after, logits(attached(preset, tied=tied)[2].model, ids))  # the seed decides the start


@pytest.mark.parametrize("preset", ["report", "default"])
def test_trains_what_it_says_and_nothing_else(name: str, preset: str, attached, ids: Tensor) -> None:
    method, _, loaded = attached(preset)
    trainable = method.trainable(loaded.model)
    requiring = {n: p for n, p in loaded.model.named_parameters() if p.requires_grad}
    assert bool(trainable) == trains_model(name)
    assert trainable.keys() == requiring.keys()
    assert all(trainable[n] is requiring[n] for n in trainable)
    perturb(name, loaded.model)
    if not trainable:
        assert not loss(loaded.model, ids).requires_grad  # so that no backward can run through the model
        return
    before = {n: t.clone() for n, t in loaded.model.state_dict().items()}
    optimizer = torch.optim.SGD(trainable.values(), lr=0.1)
    loss(loaded.model, ids).backward()
    for n, parameter in trainable.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, n
    assert all(p.grad is None for n, p in loaded.model.named_parameters() if n not in trainable)
    optimizer.step()
    changed = {n for n, t in loaded.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == set(trainable)


def test_a_step_lowers_the_loss(name: str, attached, ids: Tensor) -> None:
    """The model's own loss; where the readout's parameters alone are trained, that of a linear layer over it.

    At a small rate, or the method's own where that is larger: vectors that scale small numbers want such a one.
    """
    method, settings, loaded = attached("default")
    layer = nn.Linear(97, 97, dtype=torch.float64)

    def value_of() -> Tensor:
        if trains_model(name):
            return loss(loaded.model, ids)
        return nn.functional.cross_entropy(layer(logits(loaded.model, ids)).flatten(0, 1), ids.flatten())

    trained = [*method.trainable(loaded.model).values()] or [*layer.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=max(3e-3, settings.learning_rate))
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        value = value_of()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("tied", [False, True])
def test_files_restore_the_outputs_to_the_bit(name: str, tied: bool, attached, ids: Tensor, tmp_path: Path) -> None:
    method, settings, loaded = attached(tied=tied)
    perturb(name, loaded.model)
    expected = logits(loaded.model, ids)
    method.save(loaded.model, tmp_path / "adapter", settings, "toy")
    _, _, other = attached(tied=tied)
    assert torch.equal(logits(other.model, ids), expected) != trains_model(name)
    method.load(other.model, tmp_path / "adapter")
    assert torch.equal(logits(other.model, ids), expected)
    assert not [p for p in (tmp_path / "adapter").iterdir() if p.name.startswith(".")]  # no temporary file is left


@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "garbage", "other shape", "lacking", "extra"])
def test_a_broken_file_is_a_model_error_and_changes_nothing(
    name: str, damage: str, attached, ids: Tensor, tmp_path: Path
) -> None:
    """A method that trains nothing of the model writes a file without tensors, which can be damaged as well."""
    from safetensors.torch import load_file, save_file

    method, settings, loaded = attached()
    before = logits(loaded.model, ids)
    _, _, donor = attached()
    perturb(name, donor.model)
    method.save(donor.model, tmp_path, settings, "toy")
    (weights,) = tmp_path.glob("*.safetensors")
    whole = weights.read_bytes()
    tensors = load_file(weights)
    assert bool(tensors) == trains_model(name)
    last = max(tensors, default="a tensor")
    if damage == "missing":
        weights.unlink()
    elif damage == "cut short":
        weights.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "garbage":
        weights.write_bytes(b"not a tensor file at all" * 10)
    elif damage == "other shape":
        save_file({**tensors, last: torch.zeros(3)}, weights)
    elif damage == "lacking" and tensors:
        save_file({key: t for key, t in tensors.items() if key != last}, weights)
    elif damage == "extra":
        save_file({**tensors, "stranger": torch.zeros(3)}, weights)
    elif damage == "lacking":
        method.load(loaded.model, tmp_path)  # nothing can be lacking
        return
    with pytest.raises(ModelError) as caught:
        method.load(loaded.model, tmp_path)
    assert str(weights) in str(caught.value) and "\n" not in str(caught.value)
    assert torch.equal(logits(loaded.model, ids), before)


def test_an_unwritable_folder_is_an_output_error(name: str, attached, tmp_path: Path) -> None:
    method, settings, loaded = attached()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        method.save(loaded.model, tmp_path / "file" / "adapter", settings, "toy")


def test_merging_keeps_the_outputs_or_is_refused(name: str, attached, toy_loaded, ids: Tensor) -> None:
    method, settings, loaded = attached("default")
    own = {n for n, _ in toy_loaded(settings.precision).model.named_parameters()}
    added = method.trainable(loaded.model).keys() - own
    perturb(name, loaded.model)
    before = logits(loaded.model, ids)
    try:
        method.merge(loaded.model)
    except MergeRefusedError as refusal:
        assert str(refusal) == getattr(method, "merge_refusal", str(refusal))
        assert hasattr(method, "merge_refusal") or "4-bit" in str(refusal) or "nonlinear" in str(refusal)
        assert torch.equal(logits(loaded.model, ids), before)  # and nothing was touched
        return
    assert not hasattr(method, "merge_refusal")  # what is refused for every model is never merged
    assert not any(isinstance(module, LowRankLinear | ScaledLinear) for module in loaded.model.modules())
    assert not {n for n in added if not n.endswith(".bias")} & {n for n, _ in loaded.model.named_parameters()}
    assert torch.allclose(logits(loaded.model, ids), before, atol=1e-10)
