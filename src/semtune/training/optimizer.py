"""AdamW (Loshchilov & Hutter 2017) with a warm-up then cosine schedule, and fp32 master copies where asked for.

`master_weights` is the mixed precision of Micikevicius et al. (2018): weights are used in bf16, the optimizer keeps and
updates fp32 copies and writes them back rounded. Without it a bf16 weight of size 1 cannot change by less than 2^-8,
and small updates are lost, as in the original recipe's pure bf16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    master_weights: bool = False


class Optimizer:
    """AdamW over several groups; gradients may be collected over micro-batches, in fp32 where there are masters."""

    def __init__(self, groups: Sequence[ParameterGroup], total_steps: int, warmup_fraction: float) -> None:
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []
        """(weight, fp32 master) for the groups that want masters."""
        torch_groups = []
        for group in groups:
            updated: list[Tensor] = []
            for parameter in group.parameters:
                if group.master_weights and parameter.dtype in (torch.bfloat16, torch.float16):
                    master = parameter.detach().float()
                    self._pairs.append((parameter, master))
                    updated.append(master)
                else:
                    updated.append(parameter)
            decay = group.weight_decay
            torch_groups.append({"params": updated, "lr": group.learning_rate, "weight_decay": decay})
        self._all = [p for g in torch_groups for p in _tensors(g["params"])]
        self._adam = torch.optim.AdamW(torch_groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
        warmup = max(1, round(warmup_fraction * total_steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: schedule_factor(step, warmup, total_steps)
        )

    def collect(self) -> None:
        """After each backward: move gradients of 16-bit weights into their masters, adding up in fp32."""
        for parameter, master in self._pairs:
            if parameter.grad is not None:
                grad = parameter.grad.float()
                master.grad = grad if master.grad is None else master.grad.add_(grad)
                parameter.grad = None

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients to a joint norm of at most `max_norm`; returns the norm before, a scalar."""
        return torch.nn.utils.clip_grad_norm_(self._all, max_norm)

    def step(self) -> None:
        """Update, write masters back, forget gradients, advance the schedule."""
        self._adam.step()
        with torch.no_grad():
            for parameter, master in self._pairs:
                parameter.copy_(master)
        self._adam.zero_grad(set_to_none=True)
        self._schedule.step()

    def learning_rate(self) -> float:
        """The first group's learning rate for the coming step."""
        return float(self._adam.param_groups[0]["lr"])


def schedule_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear from 1/warmup to 1, then half a cosine to 0 at `total_steps`; `step` counts from 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _tensors(value: object) -> list[Tensor]:
    assert isinstance(value, list)
    return value
