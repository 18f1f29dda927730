"""The Mix-and-Match adapter against PEFT's prefix over MLPs with the paper's equation written out, in float64."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import ModelError, OptionError, TargetError
from semtune.methods._prefixes import prefixes
from semtune.methods.mam import MAM, MamSettings
from semtune.models.architectures import architecture_of
from semtune.nn.bottleneck import bottlenecks
from semtune.nn.packed_batch import PackedBatch

from .conftest import ToyBundle
from .exact_rotary import exact_rotary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CLOSE = {"rtol": 0.0, "atol": 1e-10}
SETTINGS = MamSettings(prefix_length=5, adapter_size=6)


@pytest.fixture(autouse=True)
def rotary() -> Iterator[None]:
    with exact_rotary():
        yield


class WrittenOut(nn.Module):
    """A module with an adapter as the paper's table 1 states it, its numbers handed in."""

    def __init__(self, module: nn.Module, numbers: dict[str, Tensor], form: str) -> None:
        super().__init__()
        self.module, self.numbers, self.form = module, numbers, form

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.module(*args, **kwargs)
        y = output[0] if isinstance(output, tuple) else output
        h = (args[0] if args else kwargs["hidden_states"]) if self.form == "parallel" else y
        n = self.numbers
        inner = torch.clamp(h @ n["down_weight"].T + n["down_bias"], min=0)
        y = y + n["scale"] * (inner @ n["up_weight"].T + n["up_bias"])
        return (y, *output[1:]) if isinstance(output, tuple) else y


def attached(loaded: ToyBundle, **changes: object) -> nn.Module:
    torch.manual_seed(1)
    MAM.attach(loaded, dataclasses.replace(SETTINGS, **changes))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in MAM.trainable(loaded.model).values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return loaded.model


def oracle(ours: nn.Module, toy: nn.Module, form: str, leaves: dict[str, Tensor]) -> nn.Module:
    """PEFT's prefix with our keys and values over `toy` with the adapters written out; `leaves` gets their numbers."""
    for path, adapter in bottlenecks(ours).items():
        numbers = {name: p.detach().clone().requires_grad_() for name, p in adapter.named_parameters()}
        leaves |= {f"{path}.{name}": tensor for name, tensor in numbers.items()}
        numbers.setdefault("scale", torch.tensor(4.0, dtype=torch.float64))
        carrier = path.removesuffix(".bottleneck")
        toy.set_submodule(carrier, WrittenOut(toy.get_submodule(carrier), numbers, form))
    if not (found := list(prefixes(ours).values())):
        return toy
    theirs = peft.get_peft_model(toy, peft.PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"))
    theirs.prompt_encoder.double()
    rows = [x.transpose(0, 1).flatten(1) for prefix in found for x in (prefix.keys, prefix.values)]
    with torch.no_grad():
        theirs.prompt_encoder.default.embedding.weight.copy_(torch.cat(rows, dim=1))
    return theirs.eval()


@pytest.mark.parametrize("learned", [False, True], ids=["fixed scale", "learned scale"])
@pytest.mark.parametrize("form", ["parallel", "sequential"])
@pytest.mark.parametrize("place", ["mlp", "attention", "both"])
@pytest.mark.parametrize("length", [0, 5], ids=["adapters alone", "with prefix"])
def test_every_variant_equals_the_papers_equation(
    length: int, place: str, form: str, learned: bool, toy_loaded: Any, toy_model: Any, ids: Tensor
) -> None:
    options = {"prefix_length": length, "adapter_place": place, "adapter_form": form, "learn_scale": learned}
    ours, leaves = attached(toy_loaded(), **options), {}
    assert len(bottlenecks(ours)) == (4 if place == "both" else 2)
    theirs = oracle(ours, toy_model(), form, leaves)
    mine, other = ours(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, other.logits, **CLOSE)
    mine.loss.backward()
    other.loss.backward()
    adapters = {f"{path}.{n}": p for path, a in bottlenecks(ours).items() for n, p in a.named_parameters()}
    assert adapters.keys() == leaves.keys()
    for name, parameter in adapters.items():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, **CLOSE)
    texts, lengths = [ids[0], ids[1, :4], ids[2, :7]], (11, 4, 7)
    indices = [0, 9, 10, 13, 14, 20, 21]  # the last block computes only these
    hidden = architecture_of(ours).hidden_states(ours, torch.cat(texts), PackedBatch(lengths), indices)
    expected = torch.cat([theirs(input_ids=text[None]).logits[0] for text in texts])[indices]
    torch.testing.assert_close(ours.lm_head(hidden), expected, **CLOSE)


def test_the_size_follows_the_hidden_size(toy_loaded: Any) -> None:
    sizes = {adapter.size for adapter in bottlenecks(attached(toy_loaded(), adapter_size=0)).values()}
    assert sizes == {32}  # half of 64


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"adapter_form": "sequential"}, "adapter_form parallel, the model was prepared for sequential"),
        ({"adapter_scale": 2.0}, "adapter_scale 4.0, the model was prepared for 2.0"),
        ({"learn_scale": True}, "adapter_scale 4.0, the model was prepared for learned"),
        ({"prefix_length": 0}, "weights with no place here"),
        ({"adapter_place": "both"}, "lacks 8 of the weights"),
    ],
)
def test_files_of_other_options_are_refused_unchanged(
    changes: dict[str, Any], key: str, toy_loaded: Any, ids: Tensor, tmp_path: Path
) -> None:
    MAM.save(attached(toy_loaded()), tmp_path, SETTINGS, "toy")
    model = attached(toy_loaded(), **changes)
    before = model(input_ids=ids).logits
    with pytest.raises(ModelError, match=key):
        MAM.load(model, tmp_path)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_a_second_attachment_is_refused(toy_loaded: Any) -> None:
    loaded = toy_loaded()
    attached(loaded)
    with pytest.raises(OptionError, match="carries adapters already"):
        attached(loaded)


def test_a_block_without_an_mlp_of_one_module_is_refused_unchanged(toy_loaded: Any) -> None:
    loaded = toy_loaded()
    block = loaded.model.model.layers[0]
    block.extra = nn.Linear(3, 3)
    with pytest.raises(TargetError, match=r"no MLP that is one module .*; choose adapter_place attention"):
        attached(loaded)
    assert not prefixes(loaded.model) and block.extra.weight.requires_grad
