"""AdamW over 16-bit weights through fp32 copies ("masters"), all of an update in one pass over memory.

With every weight trained the update is bound by memory: gradient, two moments, master and weight of each are read or
written once here, and a gradient that came in bf16 is never copied to fp32 unless micro-batches must be added up. The
update is that of Loshchilov & Hutter 2017, algorithm 2, as in torch's AdamW.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semtune.nn import kernels

BETAS = (0.9, 0.999)
EPS = 1e-8


class Masters:
    """16-bit parameters with fp32 masters and moments, all of one learning rate."""

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float) -> None:
        self._slots = [_Slot(parameter) for parameter in parameters]
        self._weight_decay = weight_decay
        self._steps = 0

    def collect(self) -> None:
        """After each backward: take the gradients; from the second micro-batch on they add up in fp32."""
        for slot in self._slots:
            slot.collect()

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64."""
        squares = [_square_sum(slot.grad) for slot in self._slots if slot.grad is not None]
        return torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def step(self, learning_rate: float, clip: Tensor) -> None:
        """One update with the gradients times `clip`, a scalar; the gradients are forgotten."""
        self._steps += 1
        corrections = tuple(1 - beta**self._steps for beta in BETAS)
        decay = 1 - learning_rate * self._weight_decay
        for slot in self._slots:
            if slot.grad is not None:
                slot.update(learning_rate, decay, corrections, clip)
                slot.grad = None


class _Slot:
    """One parameter's state."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self.master = parameter.detach().float()
        self.mean, self.square = torch.zeros_like(self.master), torch.zeros_like(self.master)
        self.grad: Tensor | None = None

    def collect(self) -> None:
        fresh, self.parameter.grad = self.parameter.grad, None
        if fresh is not None:
            self.grad = fresh if self.grad is None else self.grad.float().add_(fresh)

    def update(self, rate: float, decay: float, corrections: tuple[float, ...], clip: Tensor) -> None:
        grad, weight = self.grad, self.parameter.data
        assert grad is not None
        if kernels.takes(weight) and grad.is_contiguous():
            either = (grad, None) if grad.dtype == torch.bfloat16 else (None, grad)
            factors = (rate, *BETAS, EPS, decay, 1 / corrections[0], corrections[1] ** -0.5, float(clip))
            kernels.call("adamw", weight, self.master, self.mean, self.square, *either, *factors, weight.numel())
            return
        wide = grad.float() * clip
        self.mean.lerp_(wide, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(wide, wide, value=1 - BETAS[1])
        denominator = (self.square / corrections[1]).sqrt_().add_(EPS)
        self.master.mul_(decay).addcdiv_(self.mean, denominator, value=-rate / corrections[0])
        weight.copy_(self.master)


def _square_sum(grad: Tensor) -> Tensor:
    """A scalar in fp64."""
    if kernels.takes(grad):
        partial = torch.zeros(torch.get_num_threads(), dtype=torch.float64)
        kernels.call("square_sum", grad, partial, grad.numel())
        return partial.sum()
    norm: Tensor = torch.linalg.vector_norm(grad, dtype=torch.float32)
    return norm.double().square()
