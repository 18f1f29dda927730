"""The base of rules that turn gradients into updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from semtune.training.fused import FusedOptimizer
from semtune.training.optimizer import Optimizer
from semtune.training.rule import Mark, OptimizerChoice, ParameterGroup, States
from semtune.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The options of a rule that has none."""


class GradientRule:
    """A rule with gradients, on every device; subclasses make the states."""

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = NoSettings
    uses_gradients: ClassVar[bool] = True
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda", "mps"})

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """The states of all parameters of `group`. Raises OptionError."""
        raise NotImplementedError

    def make(
        self, groups: Sequence[ParameterGroup], schedule: Schedule, choice: OptimizerChoice, mark: Mark
    ) -> Optimizer:
        """The optimizer of a run, its update fused into the backward where `choice` says so. Raises OptionError."""
        return (FusedOptimizer if choice.fused_update else Optimizer)(groups, schedule, choice, mark)


def has_master(parameter: nn.Parameter, group: ParameterGroup) -> bool:
    """Whether the parameter has an fp32 master weight beside it."""
    return group.master_weights and parameter.dtype in (torch.bfloat16, torch.float16)


def divided(
    group: ParameterGroup, chosen: Callable[[nn.Parameter], bool]
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The parameters of `group` that are chosen, and all others."""
    parts: tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]] = ({}, {})
    for name, parameter in group.parameters.items():
        parts[not chosen(parameter)][name] = parameter
    return parts
