"""An optimizer over groups of named parameters: gradients are clipped together, then each state updates its own.

How a gradient becomes an update is an entry of `registry.OPTIMIZERS` (`rule.UpdateRule`), by default AdamW
(Loshchilov & Hutter 2017). `master_weights` is the mixed precision of Micikevicius et al. (2018): weights are used in
bf16, the optimizer updates fp32 masters and writes them back rounded. Without masters a bf16 weight of size 1 cannot
change by less than 2^-8, and small updates are lost, as in the original recipe's pure bf16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from semtune.errors import DivergedError, ModelError
from semtune.registry import OPTIMIZERS
from semtune.training.rule import Mark, OptimizerChoice, ParameterGroup, States, ignore_mark
from semtune.training.schedule import Schedule
from semtune.training.wide import wide, wide_dtype

StateDict = dict[str, dict[str, Tensor]]
"""Parameter name → tensor name → tensor."""
Losses = Sequence[Callable[[], Tensor]]
"""The micro-batches of a step: each call runs a forward and returns its share of the step's loss, a scalar."""


class Optimizer:
    """The states of all groups, whose learning rates follow one schedule; a step is forward, backward, clip, update.

    Args:
        choice: the update rule; None: AdamW.
        mark: called as each part of a step begins.

    Raises:
        ValueError: a name is in two groups.
        OptionError: the rule cannot update these parameters.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        schedule: Schedule,
        choice: OptimizerChoice | None = None,
        mark: Mark = ignore_mark,
    ) -> None:
        names = [name for group in groups for name in group.parameters]
        if len(names) != len(set(names)):
            raise ValueError(f"parameter names in two groups: {sorted({n for n in names if names.count(n) > 1})}")
        adamw = OptimizerChoice(OPTIMIZERS.get("adamw"))
        chosen = choice or adamw
        self._states: list[tuple[States, float]] = []
        """The states, each with its learning rate before the schedule."""
        for group in groups:
            keeps_adamw = group.adamw and chosen.rule.uses_gradients
            made = (adamw if keeps_adamw else chosen).of(group) if group.parameters else []
            self._states += [(states, group.learning_rate) for states in made]
        self._schedule, self._mark = schedule, mark
        self._first_rate = groups[0].learning_rate
        self._clip = torch.ones(())

    @property
    def largest_gradient_bytes(self) -> int:
        """Bytes of the largest parameter's gradient; 0 without gradients."""
        parameters = (p for states, _ in self._states for p in states.parameters.values())
        return max((p.numel() * p.element_size() for p in parameters), default=0)

    def minimise(self, losses: Losses, max_norm: float) -> tuple[float, float]:
        """One step; returns the sum of `losses` and the gradient's norm before clipping.

        Raises DivergedError, before any weight changes, where one of them is not finite.
        """
        total = torch.zeros(())
        for loss_of in losses:
            loss = loss_of()
            loss.backward()  # type: ignore[no-untyped-call]
            self.accumulate()
            total = total.to(loss.device, wide_dtype(loss.device)) + loss.detach()
        norm = self.clip(max_norm)
        figures = finite_figures(total, norm)
        self.step()
        return figures

    def accumulate(self) -> None:
        """Called after each backward: semtune's own states take over their gradients and add them up in fp32."""
        for states, _ in self._states:
            states.accumulate()

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients to a total L2 norm of at most `max_norm`; returns the norm before, a scalar.

        Gradients of semtune's own states are scaled in the next `step`, which reads them anyway.
        """
        self._mark("clip")
        all_states = [states for states, _ in self._states]
        if len(all_states) == 1:
            norm = all_states[0].norm()
        else:
            norm = torch.stack([states.square_norm() for states in all_states]).sum().sqrt()
        self._clip = clip_factor(norm, max_norm)
        for states in all_states:
            states.scale(self._clip)
        return norm

    def step(self) -> None:
        """Update the parameters, drop the gradients and advance the schedule."""
        self._mark("update")
        factor = self._schedule.factor()
        for states, rate in self._states:
            states.step(rate * factor, self._clip)
        self._clip = torch.ones(())
        self._schedule.advance()

    def learning_rate(self) -> float:
        """The first group's learning rate in the next step."""
        return self._first_rate * self._schedule.factor()

    def state_dict(self) -> StateDict:
        """What is stored for every parameter; references, so write or copy them before the next step.

        The weights themselves are not in it.
        """
        return {name: tensors for states, _ in self._states for name, tensors in states.state_dict().items()}

    def load_state_dict(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copy what `state_dict` returned, after the weights have been loaded into the model.

        Raises ModelError where it belongs to other parameters, another optimizer or another precision.
        """
        expected = self.state_dict().keys()
        if different := sorted(expected ^ saved.keys()):
            kind = "lacks" if different[0] in expected else "also holds"
            raise ModelError(
                f"The optimizer state {kind} {different[0]} ({len(different)} parameters differ); go on with the "
                "model, method and targets that wrote it."
            )
        for states, _ in self._states:
            states.load_state_dict(saved)


def clip_factor(norm: Tensor, max_norm: float) -> Tensor:
    """min(1, max_norm / norm), a scalar, as torch's `clip_grad_norm_` forms it."""
    return (max_norm / (norm + 1e-6)).clamp(max=1.0)


def finite_figures(loss: Tensor, norm: Tensor) -> tuple[float, float]:
    """Both scalars as numbers. Raises DivergedError where one is not finite."""
    loss_value, norm_value = torch.stack([wide(loss), wide(norm)]).tolist()
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        raise DivergedError(
            f"The loss ({loss_value:g}) or the gradient norm ({norm_value:g}) is not finite; "
            "lower --learning-rate, or use a wider --precision."
        )
    return loss_value, norm_value
