"""LoRA, QLoRA and DoRA: which layers carry adapters, attaching, merging. Their files: `_peft_files`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError, OptionError, TargetError
from semtune.methods import _peft_files
from semtune.methods._targets import chosen_paths
from semtune.nn.linear import as_linear_layer, is_linear_layer
from semtune.nn.low_rank import LowRankLinear
from semtune.records import LowRankSettings

ALL_LINEAR = "all-linear"


class LowRankMethod:
    """Low-rank adapters on chosen linear layers, with DoRA's trained row norms if `magnitudes`."""

    Settings = LowRankSettings
    freezes_linears = True

    def __init__(
        self,
        name: str,
        presets: Mapping[str, LowRankSettings],
        magnitudes: bool = False,
        preset_notes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name = name
        self.presets = presets
        self.preset_notes = preset_notes or {}
        self.magnitudes = magnitudes

    def attach(self, loaded: LoadedModel, settings: LowRankSettings) -> None:
        """Freeze the whole model and wrap the targets in `LowRankLinear`; everything is checked before any change.

        Raises TargetError for a target that matches nothing, OptionError for an impossible rank, alpha or dropout.
        """
        linears = loaded.linears()
        if not linears:
            raise TargetError(nothing_to_wrap(loaded.model))
        bases = resolve_targets(linears, settings.targets)
        check_settings(bases, settings.rank, settings.alpha, settings.dropout)
        loaded.model.requires_grad_(False)
        for path, base in bases.items():
            adapter = LowRankLinear(base, settings.rank, settings.alpha, settings.dropout, self.magnitudes)
            loaded.model.set_submodule(path, adapter.train(base.training))

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The adapters' parameters, by their name in `model`."""
        return {
            f"{path}.{name}": parameter
            for path, adapter in adapters(model).items()
            for name, parameter in adapter.named_parameters(recurse=False)
        }

    def merge(self, model: nn.Module) -> None:
        """Merge every adapter into its base layer's weight, computed in the adapter's dtype and rounded once, in place.

        Raises MergeRefusedError where a base layer refuses (4-bit weights), before anything is changed.
        """
        found = adapters(model)
        for path, adapter in found.items():
            refusal = as_linear_layer(adapter.base).merge_refusal
            if refusal is not None:
                raise MergeRefusedError(f"{path} {refusal}")
        for path, adapter in found.items():
            model.set_submodule(path, adapter.merged())

    def save(self, model: nn.Module, folder: Path, settings: LowRankSettings, base_model: str) -> None:
        """Write the adapters in PEFT's file format. Raises OutputError."""
        _peft_files.save(model, adapters(model), folder, settings, base_model)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read adapters in PEFT's file format into an attached model. Raises ModelError before any is changed."""
        _peft_files.load(adapters(model), folder)


def adapters(model: nn.Module) -> dict[str, LowRankLinear]:
    """Every adapter of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LowRankLinear)}


def resolve_targets(linears: Mapping[str, nn.Module], targets: Sequence[str]) -> dict[str, nn.Module]:
    """The layers among `linears` that `targets` name (see `chosen_paths`), in the model's order.

    Raises TargetError where a target matches nothing, OptionError where there is none or a layer has an adapter.
    """
    chosen = chosen_paths(linears, targets, everything=ALL_LINEAR, kind="linear layer")
    bases: dict[str, nn.Module] = {}
    for path, module in linears.items():
        if path not in chosen:
            continue
        if isinstance(module, LowRankLinear):
            raise OptionError(f"{path} carries an adapter already; load the base model anew")
        if not is_linear_layer(module):
            raise TargetError(f"{path} is a {type(module).__name__}, which cannot carry an adapter; leave it out")
        bases[path] = module
    return bases


def nothing_to_wrap(model: nn.Module) -> str:
    """Why a model without plain linear layers in its blocks carries no adapters, with its layers' own names."""
    weights = {path.rpartition(".")[2]: type(m).__name__ for path, m in model.named_modules() if _has_matrix(m)}
    named = ", ".join(f"{name} ({kind})" for name, kind in sorted(weights.items()))
    return (
        "This model has no plain linear layers in its blocks, so adapters have nothing to attach to (its layers with "
        f"weights are {named or 'none'}); choose --method full."
    )


def _has_matrix(module: nn.Module) -> bool:
    """Whether the module itself has a weight matrix and is no embedding."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def check_settings(bases: Mapping[str, nn.Module], rank: int, alpha: float, dropout: float) -> None:
    """Raises OptionError for an impossible rank, alpha or dropout."""
    if rank < 1:
        raise OptionError(f"The rank must be at least 1, not {rank}")
    for path, base in bases.items():
        layer = as_linear_layer(base)
        largest = min(layer.in_features, layer.out_features)
        if rank > largest:
            raise OptionError(f"The rank must be at most {largest}, the smaller side of {path}, not {rank}")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise OptionError(f"Alpha must be a number above 0, not {alpha}")
    if not 0 <= dropout < 1:
        raise OptionError(f"The dropout must be at least 0 and below 1, not {dropout}")
