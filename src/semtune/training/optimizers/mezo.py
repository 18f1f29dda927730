"""MeZO: fine-tuning with forward passes alone (Malladi et al. 2023, algorithm 1, arXiv:2305.17333).

A step draws one direction z ~ N(0, I) over all trained weights and runs two forwards of its texts, none backward:

    g = (L(θ + ε z) - L(θ - ε z)) / 2ε;  θ ← θ - η g z - η λ θ

z is never stored: it is drawn again from the step's seed, parameter by parameter and a chunk at a time, so that
training takes the memory of predicting (and the residual bits of the masters, where the method has them). The weights
are changed in place: θ + ε z, θ - ε z, and then back and updated in one pass, so they are restored up to rounding, in
fp32 where there are masters. Choices:

- Both forwards draw the same dropout.
- E[g²] = ‖∇L‖², so |g| is what the records show as the gradient's norm, and what `max_grad_norm` bounds.
- The readout's own weights are part of θ, as there is no gradient for another rule.
- Learning rates are far below AdamW's, 1e-7 to 1e-5 for all weights of a large model in the paper, and steps many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from semtune.errors import DivergedError
from semtune.nn.dropout import draw_seed
from semtune.nn.operator_registry import OperatorCost, composite, tensor_bytes
from semtune.records import option
from semtune.training.chunks import chunk_numel, chunks, masters_of
from semtune.training.masters import ParameterState, ParameterStates
from semtune.training.optimizer import Losses, Optimizer, clip_factor, finite_figures
from semtune.training.rule import Mark, OptimizerChoice, ParameterGroup, States
from semtune.training.schedule import Schedule
from semtune.training.wide import wide


@dataclass(frozen=True, slots=True)
class MezoSettings:
    """The options of MeZO."""

    epsilon: float = option(1e-3, above=0, help="Distance along z at which the loss is evaluated.")


class MezoState(ParameterState):
    """A parameter that moves along its part of z; only the rest of its master is stored."""

    def shift(self, seed: int, scale: float, decay: float = 1.0) -> None:
        """θ ← decay · θ + scale · z, with the z of `seed`."""
        _shift(self.parameter.data, self.residual_bits, self.master_copy, seed, scale, decay)


def _cost(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, *others: Any, out: Any
) -> OperatorCost:
    stored = sum(tensor_bytes(x) for x in (weight, residual_bits, master_copy) if x is not None)
    itemsize = torch.promote_types(weight.dtype, torch.float32).itemsize
    # z and, of a 16-bit weight, its fp32 master, its bits as int32 and the rounded result
    temporaries = 1 if weight.dtype.itemsize > 2 else 4
    workspace = temporaries * itemsize * min(weight.numel(), chunk_numel(weight))
    return OperatorCost(moved_bytes=2 * stored, workspace_bytes=workspace)


@composite(
    "mezo_shift_(Tensor(a!) weight, Tensor(b!)? residual_bits, Tensor(c!)? master_copy, int seed, float scale, "
    "float decay) -> ()",
    cost=_cost,
)
def _shift(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, seed: int, scale: float, decay: float
) -> None:
    """Move a parameter along the direction that `seed` draws, a chunk at a time."""
    state = masters_of(weight, residual_bits, master_copy)
    generator = torch.Generator(weight.device).manual_seed(seed)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    for part in chunks(weight.numel(), weight):
        z = torch.randn(part.stop - part.start, generator=generator, dtype=dtype, device=weight.device)
        state.write_back(state.master(part).mul_(decay).add_(z, alpha=scale), part)


class MezoOptimizer(Optimizer):
    """An optimizer whose step is two forwards. Arguments as `Optimizer`."""

    def __init__(
        self, groups: Sequence[ParameterGroup], schedule: Schedule, choice: OptimizerChoice, mark: Mark
    ) -> None:
        super().__init__(groups, schedule, choice, mark)
        self._epsilon = (choice.settings or MezoSettings()).epsilon

    @property
    def largest_gradient_bytes(self) -> int:
        """0: there are no gradients."""
        return 0

    @torch.no_grad()
    def minimise(self, losses: Losses, max_norm: float) -> tuple[float, float]:
        """One step; returns the mean of the two losses and |g|.

        Raises DivergedError, the weights being those before the step (up to rounding), where one is not finite.
        """
        epsilon, seed = self._epsilon, draw_seed()
        self._shift(seed, epsilon)
        with torch.random.fork_rng():  # both forwards draw the same dropout
            above = _total(losses)
        self._shift(seed, -2 * epsilon)
        below = _total(losses)
        slope = (above - below) / (2 * epsilon)
        try:
            figures = finite_figures((above + below) / 2, slope.abs())
        except DivergedError:
            self._shift(seed, epsilon)
            raise
        self._mark("update")
        step, factor = float(slope * clip_factor(slope.abs(), max_norm)), self._schedule.factor()
        for index, (state, rate, weight_decay) in enumerate(self._parts()):
            decay = 1 - rate * factor * weight_decay
            state.shift(_seed_of(seed, index), epsilon * decay - rate * factor * step, decay)
            state.steps += 1
        self._schedule.advance()
        return figures

    def _shift(self, seed: int, scale: float) -> None:
        self._mark("update")
        for index, (state, _, _) in enumerate(self._parts()):
            state.shift(_seed_of(seed, index), scale)

    def _parts(self) -> list[tuple[MezoState, float, float]]:
        """Every parameter with its learning rate and weight decay, in a fixed order."""
        parts: list[tuple[MezoState, float, float]] = []
        for states, rate in self._states:
            assert isinstance(states, ParameterStates)
            for state in states.states.values():
                assert isinstance(state, MezoState)
                parts.append((state, rate, states.weight_decay))
        return parts


def _total(losses: Losses) -> Tensor:
    """The sum of all losses, a scalar in fp64."""
    return torch.stack([wide(loss_of()) for loss_of in losses]).sum()


def _seed_of(seed: int, index: int) -> int:
    """The seed of the parameter number `index` in a step: 63 bits."""
    return (seed + 0x9E3779B97F4A7C15 * (index + 1)) % 2**63


class Mezo:
    """Two forwards a step, no backward, on every device."""

    name: ClassVar[str] = "mezo"
    Settings: ClassVar[type[Any]] = MezoSettings
    uses_gradients: ClassVar[bool] = False
    device_types: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda", "mps"})

    def states(self, group: ParameterGroup, settings: MezoSettings) -> list[States]:
        """One kind of state for all parameters."""
        states = {name: MezoState(p, master=group.master_weights) for name, p in group.parameters.items()}
        return [ParameterStates(states, group.weight_decay)]

    def make(
        self, groups: Sequence[ParameterGroup], schedule: Schedule, choice: OptimizerChoice, mark: Mark
    ) -> Optimizer:
        """The optimizer of a run."""
        return MezoOptimizer(groups, schedule, choice, mark)


MEZO = Mezo()
