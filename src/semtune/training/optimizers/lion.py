"""Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2, arXiv:2302.06675).

    c = β1 m + (1 - β1) g;  θ ← θ - η (sign(c) + λ θ);  m ← β2 m + (1 - β2) g

One momentum per element, fp32, in place of AdamW's two moments. Each element moves by η in every step, so the paper
takes a learning rate 3 to 10 times smaller than AdamW's, and a weight decay larger by the same factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semtune.nn.operator_registry import composite
from semtune.records import option
from semtune.training.chunks import chunks, masters_of
from semtune.training.masters import ParameterState, ParameterStates, zeros
from semtune.training.optimizers.base import GradientRule
from semtune.training.rule import ParameterGroup, States


@dataclass(frozen=True, slots=True)
class LionSettings:
    """The options of Lion."""

    beta1: float = option(0.9, at_least=0, below=1, help="Share of the momentum in the update's sign.")
    beta2: float = option(0.99, at_least=0, below=1, help="Decay of the momentum.")


class LionState(ParameterState):
    """A parameter with its momentum, (numel,), in fp32 (fp64 for an fp64 parameter)."""

    def __init__(self, parameter: nn.Parameter, settings: LionSettings, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        self._settings = settings
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        self.momentum = zeros(parameter.numel(), dtype, parameter)

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        assert self.grad is not None
        weights = (self.parameter.data, self.residual_bits, self.master_copy)
        betas = (self._settings.beta1, self._settings.beta2)
        _update(*weights, self.momentum, self.grad, clip, learning_rate, weight_decay, *betas)

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "exp_avg": self.momentum}


@composite(
    "lion_(Tensor(a!) weight, Tensor(b!)? residual_bits, Tensor(c!)? master_copy, Tensor(d!) momentum, Tensor grad, "
    "Tensor clip, float learning_rate, float weight_decay, float beta1, float beta2) -> ()",
    chunked=True,
)
def _update(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, momentum: Tensor, grad: Tensor,
    clip: Tensor, learning_rate: float, weight_decay: float, beta1: float, beta2: float,
) -> None:  # fmt: skip
    """One update, a chunk at a time."""
    state, flat = masters_of(weight, residual_bits, master_copy), grad.flatten()
    for part in chunks(weight.numel(), weight):
        scaled = flat[part].to(momentum.dtype) * clip.to(momentum.dtype)
        direction = torch.lerp(scaled, momentum[part], beta1).sign_()
        master = state.master(part).mul_(1 - learning_rate * weight_decay)
        state.write_back(master.add_(direction, alpha=-learning_rate), part)
        momentum[part].lerp_(scaled, 1 - beta2)


class Lion(GradientRule):
    """One momentum for every parameter."""

    name: ClassVar[str] = "lion"
    Settings: ClassVar[type[Any]] = LionSettings

    def states(self, group: ParameterGroup, settings: LionSettings) -> list[States]:
        """One kind of state for all parameters."""
        states = {name: LionState(p, settings, master=group.master_weights) for name, p in group.parameters.items()}
        return [ParameterStates(states, group.weight_decay)]


LION = Lion()
