"""AdamW (Loshchilov & Hutter 2017) with a warm-up then cosine schedule, and fp32 master copies where asked for.

`master_weights` is the mixed precision of Micikevicius et al. (2018): weights are used in bf16, the optimizer keeps and
updates fp32 copies and writes them back rounded. Without it a bf16 weight of size 1 cannot change by less than 2^-8,
and small updates are lost, as in the original recipe's pure bf16. Moments are in fp32, or in 8 bits where asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semtune.training.eight_bit import eight_bit, takes_eight_bits
from semtune.training.masters import BETAS, EPS, ParameterStates, masters


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    master_weights: bool = False
    eight_bit: bool = False
    """Whether moments are kept in 8 bits."""


class Optimizer:
    """AdamW over several groups; gradients may be collected over micro-batches, in fp32 where there are masters."""

    def __init__(self, groups: Sequence[ParameterGroup], total_steps: int, warmup_fraction: float) -> None:
        self._own: list[tuple[ParameterStates, float]] = []
        """What has state of our own, with learning rates; the rest is torch's."""
        self._plain: list[nn.Parameter] = []
        torch_groups: list[dict[str, Any]] = []
        for group in groups:
            packed: list[nn.Parameter] = []
            halves: list[nn.Parameter] = []
            rest: list[nn.Parameter] = []
            for parameter in group.parameters:
                half = group.master_weights and parameter.dtype in (torch.bfloat16, torch.float16)
                small = group.eight_bit and takes_eight_bits(parameter)
                (packed if small else halves if half else rest).append(parameter)
            rate, decay = group.learning_rate, group.weight_decay
            if packed:
                self._own.append((eight_bit(packed, decay, master_weights=group.master_weights), rate))
            if halves:
                self._own.append((masters(halves, decay), rate))
            if rest:
                torch_groups.append({"params": rest, "lr": rate, "weight_decay": decay})
                self._plain += rest
        self._adam = torch.optim.AdamW(torch_groups, betas=BETAS, eps=EPS, fused=True) if torch_groups else None
        self._first_rate = groups[0].learning_rate
        self._base_rates: list[float] = [group["lr"] for group in torch_groups]
        self._step, self._total_steps = 0, total_steps
        self._warmup = max(1, round(warmup_fraction * total_steps))
        self._clip = torch.ones(())

    def collect(self) -> None:
        """After each backward: move gradients of weights with state of our own out of the way, adding up in fp32."""
        for updates, _ in self._own:
            updates.collect()

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients to a joint norm of at most `max_norm`; returns the norm before, a scalar.

        Those with state of our own are scaled in the coming `step`, which reads them anyway.
        """
        grads = [p.grad for p in self._plain if p.grad is not None]
        if not self._own:
            return torch.nn.utils.clip_grad_norm_(self._plain, max_norm)
        square = torch.stack([updates.square_norm() for updates, _ in self._own]).sum()
        if grads:
            square = square + torch.nn.utils.get_total_norm(grads).double().square()
        norm = square.sqrt()
        self._clip = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        if grads:
            torch._foreach_mul_(grads, self._clip.to(grads[0].dtype))
        return norm

    def step(self) -> None:
        """Update, forget gradients, advance the schedule."""
        factor = self._factor()
        for updates, rate in self._own:
            updates.step(rate * factor, self._clip)
        if self._adam is not None:
            for group, rate in zip(self._adam.param_groups, self._base_rates, strict=True):
                group["lr"] = rate * factor
            self._adam.step()
            self._adam.zero_grad(set_to_none=True)
        self._clip = torch.ones(())
        self._step += 1

    def learning_rate(self) -> float:
        """The first group's learning rate for the coming step."""
        return self._first_rate * self._factor()

    def _factor(self) -> float:
        return schedule_factor(self._step, self._warmup, self._total_steps)


def schedule_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear from 1/warmup to 1, then half a cosine to 0 at `total_steps`; `step` counts from 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
