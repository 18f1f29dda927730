"""The Mix-and-Match adapter: a learned prefix, and a scaled parallel adapter beside every MLP (He et al. 2022,
arXiv:2110.04366).

    mlp(x) + s (W_up relu(W_down x + b_down) + b_up),  s = 4

- The prefix is that of `prefix`, with its options.
- The paper's bottleneck is 512 for a hidden size of 1024. Smaller models get half their hidden size here, larger ones
  512, unless `adapter_size` says otherwise.
- The paper's ablations are options: `adapter_form` sequential, `adapter_place` attention, `learn_scale`, and
  `prefix_length` 0 for adapters alone. W_up and b_up are 0 at first, as in its code.
- Of an MLP behind a norm, x is the normed input, as in every decoder that normalises before its sublayers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods import _peft_prefix
from semtune.methods._files import read_tensors, write_tensors
from semtune.methods._peft_config import read_config
from semtune.methods._prefixes import (
    LONGEST,
    START_EFFECT,
    PrefixSettings,
    attach_prefixes,
    prefix_parameters,
    prefixes,
)
from semtune.nn.bottleneck import CHILD, Bottleneck, append_bottleneck, bottleneck_parameters, bottlenecks
from semtune.nn.linear import is_linear_layer
from semtune.records import MethodSettings
from semtune.records.declare import option
from semtune.records.options import MOST
from semtune.runtime.files import write_json

WEIGHTS_FILE = "mam.safetensors"
CONFIG_FILE = "mam.json"
_PAPER_SIZE = 512


@dataclass(frozen=True, slots=True)
class MamSettings(PrefixSettings):
    """Options of a prefix and of adapters."""

    prefix_length: int = option(
        30, unit="positions", at_least=0, at_most=LONGEST,
        help="Learned keys and values of each attention head; 0: adapters alone.",
    )  # fmt: skip
    adapter_size: int = option(
        0, at_least=0, at_most=MOST, help="Bottleneck of the adapters; 0: half the hidden size, at most 512."
    )
    adapter_scale: float = option(4.0, above=0, help="The adapters' output is multiplied by this.")
    learn_scale: bool = option(False, help="Train a factor of each adapter, which starts at the adapter scale.")
    adapter_form: Literal["parallel", "sequential"] = option(
        "parallel", help="Whether an adapter reads the input of the module that it stands at, or its output."
    )
    adapter_place: Literal["mlp", "attention", "both"] = option("mlp", help="Which modules have adapters.")


class MamMethod:
    """Trains prefixes and adapters; the whole base model is frozen."""

    name = "mam"
    Settings = MamSettings
    freezes_linears = True
    start_effect = START_EFFECT
    merge_refusal = (
        "A learned prefix and a nonlinear adapter fit into no weight of the base model; predict with the run as it is"
    )
    presets: Mapping[str, MethodSettings] = {
        # Not in the original experiment: the paper's learning rate, and its prefix with an MLP.
        "report": MamSettings(precision="bf16", learning_rate=5e-5, prefix_mlp_size=512, prefix_start="random"),
        "default": MamSettings(precision="auto", learning_rate=5e-4),
    }
    preset_notes: Mapping[str, tuple[str, ...]] = {
        "report": ("preset report: MaM was not part of the original experiment; it has its paper's settings here",)
    }

    def attach(self, loaded: LoadedModel, settings: MamSettings) -> None:
        """Freeze the whole model, give every attention layer a prefix and add the adapters.

        Everything is checked before any change. Raises TargetError, OptionError.
        """
        carriers = _carriers(loaded, settings)
        if any(hasattr(module, CHILD) for modules in carriers.values() for module in modules):
            raise OptionError("The model carries adapters already; load the base model anew")
        adapters: dict[nn.Module, Bottleneck] = {}

        def make_adapters(attention: nn.Module) -> None:
            adapters.update((module, _adapter(loaded, settings)) for module in carriers[attention])

        if settings.prefix_length:
            attach_prefixes(loaded, settings, make_adapters)
        else:
            for attention in carriers:
                make_adapters(attention)
            loaded.model.requires_grad_(False)
        for module, adapter in adapters.items():
            append_bottleneck(module, adapter.train(module.training), parallel=settings.adapter_form == "parallel")

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters of prefixes and adapters, by their name in `model`."""
        return {**prefix_parameters(model), **bottleneck_parameters(model)}

    def merge(self, model: nn.Module) -> None:
        """Raises MergeRefusedError."""
        raise MergeRefusedError(self.merge_refusal)

    def save(self, model: nn.Module, folder: Path, settings: MamSettings, base_model: str) -> None:
        """Write the resulting keys and values, the adapters, and what they compute. Raises OutputError."""
        write_tensors(folder / WEIGHTS_FILE, _stored(model))
        write_json(folder / CONFIG_FILE, _description(model), indent=2)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read what `save` wrote into an attached model, whose prefixes lose their MLP.

        Raises ModelError before anything is changed.
        """
        written, expected = read_config(folder / CONFIG_FILE), _description(model)
        for key, value in expected.items():
            if written.get(key) != value:
                raise ModelError(
                    f"{folder / CONFIG_FILE} has {key} {written.get(key)}, the model was prepared for {value}; give "
                    "the method options that it was made with"
                )
        adapters = bottleneck_parameters(model)
        read = {name: x.detach().clone() for name, x in _stored(model).items() if name not in adapters}
        read_tensors(folder / WEIGHTS_FILE, {**adapters, **read})
        _peft_prefix.install(model, prefixes(model), read)


def _adapter(loaded: LoadedModel, settings: MamSettings) -> Bottleneck:
    """An adapter at its start."""
    width = int(loaded.model.config.get_text_config().hidden_size)  # type: ignore[operator, union-attr]
    return Bottleneck(
        width,
        settings.adapter_size or max(1, min(_PAPER_SIZE, width // 2)),
        activation="relu",
        scale=settings.adapter_scale,
        learn_scale=settings.learn_scale,
        dtype=loaded.compute_dtype,
        device=loaded.device,
    )


def _carriers(loaded: LoadedModel, settings: MamSettings) -> dict[nn.Module, list[nn.Module]]:
    """Attention -> the modules of its block that get adapters. Raises TargetError."""
    attentions = set(loaded.attentions())
    carriers: dict[nn.Module, list[nn.Module]] = {}
    for block in loaded.blocks():
        inner = [module for module in block.modules() if module in attentions]
        if len(inner) != 1:
            raise TargetError(
                f"A block of this model ({type(block).__name__}) has not exactly one attention layer that reads a "
                "learned prefix; choose --method lora or full"
            )
        modules = inner if settings.adapter_place in ("attention", "both") else []
        if settings.adapter_place in ("mlp", "both"):
            modules = [*modules, _mlp_of(block, inner[0])]
        carriers[inner[0]] = modules
        for module in modules:
            if settings.adapter_form == "sequential" and "residual" in inspect.signature(module.forward).parameters:
                raise TargetError(
                    f"{type(module).__name__} adds the residual itself, so no sequential adapter fits between the two; "
                    "choose adapter_form parallel"
                )
    return carriers


def _mlp_of(block: nn.Module, attention: nn.Module) -> nn.Module:
    """The child of a block that has linear layers and no attention. Raises TargetError where it is not one module."""
    parts = [
        child
        for child in block.children()
        if not any(inner is attention for inner in child.modules())
        and any(is_linear_layer(inner) for inner in child.modules())
    ]
    if len(parts) != 1 or is_linear_layer(parts[0]):
        named = ", ".join(type(part).__name__ for part in parts) or "none"
        raise TargetError(
            f"{type(block).__name__} has no MLP that is one module ({named}), so no adapter fits beside it; choose "
            "adapter_place attention, or --method prefix"
        )
    return parts[0]


def _stored(model: nn.Module) -> dict[str, Any]:
    """The tensors of a file, by name."""
    found = prefixes(model)
    return {**(_peft_prefix.stored_tensors(found) if found else {}), **bottleneck_parameters(model)}


def _description(model: nn.Module) -> dict[str, Any]:
    """What a file must agree on beside names and shapes of tensors."""
    adapter = next(iter(bottlenecks(model).values()))
    fixed = not isinstance(adapter.scale, nn.Parameter)
    return {
        "adapter_form": "parallel" if adapter.parallel else "sequential",
        "adapter_scale": adapter.scale if fixed else "learned",
        "activation": adapter.activation,
    }


MAM = MamMethod()
