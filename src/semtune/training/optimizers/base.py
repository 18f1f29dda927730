"""The base of rules that turn gradients into updates, and loops over large parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semtune.nn.cuda_path import on_cuda
from semtune.training.fused import FusedOptimizer
from semtune.training.masters import ParameterState
from semtune.training.optimizer import Optimizer
from semtune.training.rule import Mark, OptimizerChoice, ParameterGroup, States
from semtune.training.schedule import Schedule

_CHUNK, _CHUNK_CUDA = 1 << 20, 1 << 22


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The options of a rule that has none."""


class GradientRule:
    """A rule with gradients, on every device; subclasses make the states."""

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = NoSettings
    uses_gradients: ClassVar[bool] = True
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """The states of all parameters of `group`. Raises OptionError."""
        raise NotImplementedError

    def make(
        self, groups: Sequence[ParameterGroup], schedule: Schedule, choice: OptimizerChoice, mark: Mark
    ) -> Optimizer:
        """The optimizer of a run, its update fused into the backward where `choice` says so. Raises OptionError."""
        return (FusedOptimizer if choice.fused_update else Optimizer)(groups, schedule, choice, mark)


def chunk_numel(like: Tensor) -> int:
    """Elements that are handled at a time on the device of `like`."""
    return _CHUNK_CUDA if on_cuda(like) else _CHUNK


def chunks(numel: int, like: Tensor, multiple: int = 1) -> Iterator[slice]:
    """Slices that cover `numel` elements, each but the last a multiple of `multiple` (a row's elements) long.

    Temporary tensors of one chunk are small beside a large parameter, and stay in a CPU's cache.
    """
    size = max(1, chunk_numel(like) // multiple) * multiple
    for start in range(0, numel, size):
        yield slice(start, min(start + size, numel))


def masters_of(weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None) -> ParameterState:
    """The master weights of an operator's arguments, to be read and written chunk by chunk."""
    state = ParameterState(nn.Parameter(weight, requires_grad=False), master=False)
    state.residual_bits, state.master_copy = residual_bits, master_copy
    return state


def has_master(parameter: nn.Parameter, group: ParameterGroup) -> bool:
    """Whether the parameter has an fp32 master weight beside it."""
    return group.master_weights and parameter.dtype in (torch.bfloat16, torch.float16)


def subset(group: ParameterGroup, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """The parameters of `group` with these names."""
    parameters: Mapping[str, nn.Parameter] = group.parameters
    return {name: parameters[name] for name in names}
