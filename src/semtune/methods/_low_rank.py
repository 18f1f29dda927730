"""LoRA, QLoRA, DoRA and QDoRA: which layers carry adapters, attaching, merging.

Their starts are in `_starts`, their files in `_peft_files`. Options that are methods of their own in the literature:
rsLoRA's scale (arXiv:2312.03732), LoRA+ (Hayou et al. 2024, arXiv:2402.12354), LoRA-FA (Zhang et al. 2023,
arXiv:2308.03303: A stays random, B alone is trained).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError, TargetError
from semtune.methods import _peft_files
from semtune.methods._eva import start_on_inputs
from semtune.methods._merging import merge_wrapped
from semtune.methods._starts import quantization_of, starts
from semtune.methods._targets import chosen_paths
from semtune.nn.linear import as_linear_layer, is_linear_layer
from semtune.nn.low_rank import LowRankLinear
from semtune.records import LowRankSettings

ALL_LINEAR = "all-linear"
_ROUNDED_START = (
    "has quantised weights, and its adapter began with a part of what rounding lost, so it fits no other weights; "
    "`semtune merge --dequantize` writes the same values as plain bf16 weights with the adapter in them"
)
"""Why a merge is refused where the weights as published would be the wrong base."""


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

        Raises TargetError for a target that matches nothing, OptionError for an impossible rank, alpha or dropout, and
        ModelError where a start needs the model's files, which cannot be read again.
        """
        self.check_settings(settings)
        bases = _bases(loaded, settings)
        loaded.model.requires_grad_(False)
        for path, start in starts(loaded, bases, settings):
            adapter = LowRankLinear(
                start.base,
                settings.rank,
                settings.alpha,
                settings.dropout,
                self.magnitudes,
                rank_stabilized=settings.scaling == "rslora",
                freeze_a=settings.freeze_a,
                start=start.factors,
                subtracted=start.subtracted,
            )
            adapter.rounded_start = start.rounded
            training = loaded.model.get_submodule(path).training
            loaded.model.set_submodule(path, adapter.train(training))

    def start_on_data(
        self, model: nn.Module, settings: LowRankSettings, forwards: Iterator[tuple[int, Callable[[], None]]]
    ) -> None:
        """See `contracts.Method`: start eva looks at the inputs of the adapted layers."""
        if settings.start == "eva":
            start_on_inputs(adapters(model), settings, forwards)

    def check_settings(self, settings: LowRankSettings) -> None:
        """See `contracts.Method`. Raises OptionError for options that cannot be combined."""
        if settings.start == "pissa" and settings.dropout > 0:
            raise OptionError(
                "With start pissa the adapters have the principal part of the weights, which dropout would remove at "
                "random; give dropout 0."
            )
        if settings.start == "loftq" and quantization_of(settings) is None:
            raise OptionError(
                "Start loftq makes up for what rounding the base lost, and precision "
                f"{settings.precision} rounds nothing; give precision nf4 (method qlora), or start pissa."
            )
        if settings.freeze_a and settings.lora_plus_ratio != 1:
            raise OptionError(
                "lora_plus_ratio sets the learning rate of B beside that of A, which freeze_a does not train; leave "
                "one of them out."
            )

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The adapters' parameters, by their name in `model`; without A where it is frozen."""
        return {f"{path}.{leaf}": parameter for path, leaf, parameter in _trained(model)}

    def learning_rate_factors(self, model: nn.Module, settings: LowRankSettings) -> dict[str, float]:
        """See `contracts.Method`. LoRA+ is about B; DoRA's magnitudes have the rate of A."""
        return {f"{path}.{leaf}": settings.lora_plus_ratio for path, leaf, _ in _trained(model) if leaf == "lora_B"}

    def merge(self, model: nn.Module) -> None:
        """Merge every adapter into its base layer's weight, computed in the adapter's dtype and rounded once, in place.

        Raises MergeRefusedError where a base layer refuses (4-bit weights), before anything is changed.
        """
        found = adapters(model)
        merge_wrapped(model, found, {path: _ROUNDED_START for path, adapter in found.items() if adapter.rounded_start})

    def save(self, model: nn.Module, folder: Path, settings: LowRankSettings, base_model: str) -> None:
        """Write the adapters in PEFT's file format. Raises OutputError."""
        _peft_files.save(model, adapters(model), folder, settings, base_model)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read adapters in PEFT's file format into an attached model. Raises ModelError before any is changed."""
        _peft_files.load(adapters(model), folder)


def adapters(model: nn.Module) -> dict[str, LowRankLinear]:
    """Every adapter of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LowRankLinear)}


def _trained(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(path of the adapter, name in it, parameter) of everything that is trained."""
    for path, adapter in adapters(model).items():
        for name, parameter in adapter.named_parameters(recurse=False):
            if not (name == "lora_A" and adapter.freeze_a):
                yield path, name, parameter


def _bases(loaded: LoadedModel, settings: LowRankSettings) -> dict[str, nn.Module]:
    """The layers that get adapters. Raises TargetError, OptionError."""
    linears = loaded.linears()
    if not linears:
        raise TargetError(nothing_to_wrap(loaded.model))
    bases = resolve_targets(linears, settings.targets)
    check_settings(bases, settings.rank, settings.alpha, settings.dropout)
    return bases


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
