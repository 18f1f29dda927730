"""What LoRA, QLoRA and DoRA share: which layers carry adapters, attaching, merging. Files: see `_peft_files`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError, OptionError, TargetError, did_you_mean
from semtune.methods import _peft_files
from semtune.nn.linear import NF4Linear, PrepackedLinear
from semtune.nn.low_rank import LowRankLinear
from semtune.records import MethodSettings

ALL_LINEAR = "all-linear"


class LowRankMethod:
    """Low-rank adapters on chosen linear layers; with row magnitudes (DoRA) where `magnitudes`."""

    def __init__(self, name: str, presets: Mapping[str, MethodSettings], magnitudes: bool = False) -> None:
        self.name = name
        self.presets = presets
        self.magnitudes = magnitudes

    def attach(self, loaded: LoadedModel, settings: MethodSettings) -> None:
        """Freeze the whole model and wrap the targets in `LowRankLinear`; all is checked before anything changes.

        Raises TargetError for a target that matches nothing, OptionError for an impossible rank, alpha or dropout.
        """
        bases = resolve_targets(loaded.linears(), settings.targets)
        _check_settings(bases, settings)
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
        """Fold every adapter into its base layer's weight, computed in the adapter's dtype and rounded once, in place.

        Raises MergeRefusedError over a 4-bit base, before anything is changed.
        """
        found = adapters(model)
        for path, adapter in found.items():
            if isinstance(adapter.base, NF4Linear):
                raise MergeRefusedError(
                    f"{path} has 4-bit weights: folding the adapter into them would quantise again and lose what was "
                    "learned; load the base in bf16 or fp32 (precision) with this adapter and merge there"
                )
        for path, adapter in found.items():
            base = adapter.base.linear() if isinstance(adapter.base, PrepackedLinear) else adapter.base
            assert isinstance(base, nn.Linear)
            base.weight.data.copy_(adapter.merged_weight())
            model.set_submodule(path, base)

    def save(self, model: nn.Module, folder: Path, settings: MethodSettings, base_model: str) -> None:
        """Write the adapters in PEFT's file format. Raises OutputError."""
        _peft_files.save(model, adapters(model), folder, settings, base_model)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read adapters in PEFT's file format into an attached model. Raises ModelError, before any was changed."""
        _peft_files.load(adapters(model), folder)


def adapters(model: nn.Module) -> dict[str, LowRankLinear]:
    """Every adapter of `model`, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LowRankLinear)}


def adapter_paths(model: nn.Module) -> tuple[str, ...]:
    """The module paths that carry adapters, in the model's order."""
    return tuple(adapters(model))


def resolve_targets(
    linears: Mapping[str, nn.Module], targets: Sequence[str]
) -> dict[str, nn.Linear | NF4Linear | PrepackedLinear]:
    """The layers among `linears` that `targets` name, in the model's order.

    A target is "all-linear", a module path, or a tail of one ("q_proj", "self_attn.q_proj"); where it matches nothing
    literally, "q" stands for "q_proj". Raises TargetError when one matches nothing, OptionError when there is none.
    """
    if not targets:
        raise OptionError('No targets were given; name at least one linear layer, or "all-linear"')
    chosen: set[str] = set()
    for target in targets:
        matches = _matches(linears, target) or _matches(linears, f"{target}_proj")
        if not matches:
            names = {path.rpartition(".")[2] for path in linears} | {ALL_LINEAR}
            raise TargetError(f'The target "{target}" matches no linear layer; {did_you_mean(target, names)}')
        chosen.update(matches)
    bases: dict[str, nn.Linear | NF4Linear | PrepackedLinear] = {}
    for path, module in linears.items():
        if path not in chosen:
            continue
        if isinstance(module, LowRankLinear):
            raise OptionError(f"{path} carries an adapter already; load the base model anew")
        if not isinstance(module, (nn.Linear, NF4Linear, PrepackedLinear)):
            raise TargetError(f"{path} is a {type(module).__name__}, which cannot carry an adapter; leave it out")
        bases[path] = module
    return bases


def _matches(paths: Iterable[str], target: str) -> list[str]:
    if target == ALL_LINEAR:
        return list(paths)
    return [path for path in paths if path == target or path.endswith(f".{target}")]


def _check_settings(bases: Mapping[str, nn.Linear | NF4Linear | PrepackedLinear], settings: MethodSettings) -> None:
    """Raises OptionError for a rank, alpha or dropout that cannot be."""
    if settings.rank < 1:
        raise OptionError(f"The rank must be at least 1, not {settings.rank}")
    for path, base in bases.items():
        largest = min(base.in_features, base.out_features)
        if settings.rank > largest:
            raise OptionError(f"The rank must be at most {largest}, the smaller side of {path}, not {settings.rank}")
    if not (settings.alpha > 0 and math.isfinite(settings.alpha)):
        raise OptionError(f"Alpha must be a number above 0, not {settings.alpha}")
    if not 0 <= settings.dropout < 1:
        raise OptionError(f"The dropout must be at least 0 and below 1, not {settings.dropout}")
