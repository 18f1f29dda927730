"""AdamW (Loshchilov & Hutter 2017) over groups of named parameters, optionally with fp32 master weights.

`master_weights` is the mixed precision of Micikevicius et al. (2018): weights are used in bf16, the optimizer updates
fp32 masters and writes them back rounded. Without masters a bf16 weight of size 1 cannot change by less than 2^-8, and
small updates are lost, as in the original recipe's pure bf16. Moments are fp32 or, optionally, 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.training.eight_bit import eight_bit, has_eight_bit_moments
from semtune.training.masters import BETAS, EPS, ParameterStates, masters
from semtune.training.schedule import Schedule

StateDict = dict[str, dict[str, Tensor]]
"""Parameter name → tensor name → tensor."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: Mapping[str, nn.Parameter]
    """Dotted module path -> parameter. Names are unique over all groups; the optimizer's state is stored under them."""
    learning_rate: float
    weight_decay: float = 0.0
    master_weights: bool = False
    """Whether 16-bit parameters have fp32 masters."""
    eight_bit: bool = False
    """Whether large parameters have 8-bit moments."""


class Optimizer:
    """AdamW over several groups, whose learning rates all follow one schedule.

    Parameters with masters or 8-bit moments are updated by semtune's `ParameterStates`, all others by torch's AdamW.
    """

    def __init__(self, groups: Sequence[ParameterGroup], schedule: Schedule) -> None:
        """Raises ValueError where a name is in two groups."""
        self._own: list[tuple[ParameterStates, float]] = []
        """semtune's own states, each with its learning rate before the schedule."""
        self._torch: dict[str, nn.Parameter] = {}
        """The parameters that torch's AdamW updates, by name."""
        torch_groups: list[dict[str, Any]] = []
        names = [name for group in groups for name in group.parameters]
        if len(names) != len(set(names)):
            raise ValueError(f"parameter names in two groups: {sorted({n for n in names if names.count(n) > 1})}")
        for group in groups:
            quantised: dict[str, nn.Parameter] = {}
            mastered: dict[str, nn.Parameter] = {}
            plain: dict[str, nn.Parameter] = {}
            for name, parameter in group.parameters.items():
                has_master = group.master_weights and parameter.dtype in (torch.bfloat16, torch.float16)
                in_eight_bits = group.eight_bit and has_eight_bit_moments(parameter)
                (quantised if in_eight_bits else mastered if has_master else plain)[name] = parameter
            rate, decay = group.learning_rate, group.weight_decay
            if quantised:
                self._own.append((eight_bit(quantised, decay, master_weights=group.master_weights), rate))
            if mastered:
                self._own.append((masters(mastered, decay), rate))
            if plain:
                torch_groups.append({"params": list(plain.values()), "lr": rate, "weight_decay": decay})
                self._torch |= plain
        self._adam = torch.optim.AdamW(torch_groups, betas=BETAS, eps=EPS, fused=True) if torch_groups else None
        self._schedule = schedule
        self._first_rate = groups[0].learning_rate
        self._base_rates: list[float] = [group["lr"] for group in torch_groups]
        self._clip = torch.ones(())

    def accumulate(self) -> None:
        """Called after each backward: semtune's own states take over their gradients and add them up in fp32."""
        for states, _ in self._own:
            states.accumulate()

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients to a total L2 norm of at most `max_norm`; returns the norm before, a scalar.

        Gradients of semtune's own states are scaled in the next `step`, which reads them anyway.
        """
        parameters = list(self._torch.values())
        grads = [p.grad for p in parameters if p.grad is not None]
        if not self._own:
            return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        square = torch.stack([states.square_norm() for states, _ in self._own]).sum()
        if grads:
            square = square + torch.nn.utils.get_total_norm(grads).double().square()
        norm = square.sqrt()
        self._clip = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        if grads:
            torch._foreach_mul_(grads, self._clip.to(grads[0].dtype))
        return norm

    def step(self) -> None:
        """Update the parameters, drop the gradients and advance the schedule."""
        factor = self._schedule.factor()
        for states, rate in self._own:
            states.step(rate * factor, self._clip)
        if self._adam is not None:
            for group, rate in zip(self._adam.param_groups, self._base_rates, strict=True):
                group["lr"] = rate * factor
            self._adam.step()
            self._adam.zero_grad(set_to_none=True)
        self._clip = torch.ones(())
        self._schedule.advance()

    def learning_rate(self) -> float:
        """The first group's learning rate in the next step."""
        return self._first_rate * self._schedule.factor()

    def state_dict(self) -> StateDict:
        """Step, moments and residual bits of every parameter; references, so write or copy them before the next step.

        The weights themselves are not in it.
        """
        state: StateDict = {}
        for states, _ in self._own:
            state |= states.state_dict()
        if self._adam is not None:
            state |= {name: dict(self._adam.state.get(parameter, {})) for name, parameter in self._torch.items()}
        return state

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
        for states, _ in self._own:
            states.load_state_dict(saved)
        for name, parameter in self._torch.items():
            self._load_torch_state(name, parameter, saved[name])

    def _load_torch_state(self, name: str, parameter: nn.Parameter, saved: Mapping[str, Tensor]) -> None:
        assert self._adam is not None
        if saved and saved.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ModelError(
                f"The optimizer state of {name} holds {', '.join(sorted(saved))}, which is not that of AdamW in "
                f"{parameter.dtype}; go on with the optimizer and precision that wrote it."
            )
        for key, tensor in saved.items():
            if key != "step" and (tensor.shape, tensor.dtype) != (parameter.shape, parameter.dtype):
                raise ModelError(
                    f"{key} in the optimizer state of {name} is {tensor.dtype} {tuple(tensor.shape)}, not "
                    f"{parameter.dtype} {tuple(parameter.shape)}; go on with the model and method that wrote it."
                )
        self._adam.state[parameter] = {key: tensor.to(parameter.device, copy=True) for key, tensor in saved.items()}
