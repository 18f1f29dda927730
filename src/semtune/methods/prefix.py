"""Prefix tuning: learned keys and values in front of every attention layer's own (Li & Liang 2021, arXiv:2101.00190).

- The default trains keys and values directly and starts from those that the base model computes for random common
  tokens. With random numbers they are unstable, so the paper trains an MLP that makes them (`prefix_mlp_size`) or, for
  little data, starts from real words as here (its sections 4.3 and 7.4).
- The MLP's first layer is shared by all attention layers, as in the paper's code; its last is cut into one part per
  layer, so each layer computes only its own keys and values. Files hold the result alone.
- Positions do not count the prefix, and its keys are not rotated; `nn.learned_prefix` says how that equals PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import MergeRefusedError
from semtune.methods import _peft_prefix
from semtune.methods._prefixes import (
    MERGE_REFUSAL,
    START_EFFECT,
    PrefixSettings,
    attach_prefixes,
    prefix_parameters,
    prefixes,
)
from semtune.records import MethodSettings


class PrefixMethod:
    """Trains keys and values of every attention layer; the whole base model is frozen."""

    name = "prefix"
    Settings = PrefixSettings
    freezes_linears = True
    start_effect = START_EFFECT
    merge_refusal = MERGE_REFUSAL
    presets: Mapping[str, MethodSettings] = {
        # Not in the original experiment: the paper's reparametrisation and learning rate.
        "report": PrefixSettings(
            precision="bf16", learning_rate=5e-5, prefix_length=30, prefix_mlp_size=512, prefix_start="random"
        ),
        "default": PrefixSettings(
            precision="auto", learning_rate=1e-2, prefix_length=30, prefix_mlp_size=0, prefix_start="words"
        ),
    }
    preset_notes: Mapping[str, tuple[str, ...]] = {
        "report": (
            "preset report: prefix tuning was not part of the original experiment; it has its paper's settings here",
        )
    }

    def attach(self, loaded: LoadedModel, settings: PrefixSettings) -> None:
        """Freeze the whole model and give every attention layer a prefix. Raises TargetError, OptionError."""
        attach_prefixes(loaded, settings)

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The prefixes' parameters, those of their MLP included, by their name in `model`."""
        return prefix_parameters(model)

    def merge(self, model: nn.Module) -> None:
        """Raises MergeRefusedError."""
        raise MergeRefusedError(self.merge_refusal)

    def save(self, model: nn.Module, folder: Path, settings: PrefixSettings, base_model: str) -> None:
        """Write the resulting keys and values in PEFT's file format. Raises OutputError."""
        _peft_prefix.save(prefixes(model), folder, base_model)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Read keys and values in PEFT's file format into an attached model, which loses the MLP. Raises ModelError."""
        _peft_prefix.load(model, prefixes(model), folder)


PREFIX = PrefixMethod()
