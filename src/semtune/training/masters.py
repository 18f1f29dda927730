"""AdamW over 16-bit weights through fp32 copies ("masters"), all of an update in one pass over memory.

With every weight trained the update is bound by memory: gradient, two moments, master and weight of each are read or
written once here, and a gradient that came in bf16 is never copied to fp32 unless micro-batches must be added up. A
bf16 weight is the upper half of its master's bits, so only the lower half is kept beside it: exact, and 2 bytes in
place of 4. The update is that of Loshchilov & Hutter 2017, algorithm 2, as in torch's AdamW.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semtune.measure.allocator import use_large_pages
from semtune.nn import kernels

BETAS = (0.9, 0.999)
EPS = 1e-8


class Masters:
    """16-bit parameters with fp32 masters and moments, all of one learning rate."""

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float) -> None:
        sizes = [parameter.numel() for parameter in parameters]
        like = parameters[0]
        state = zip(
            parameters,
            torch.split(_zeros(sum(sizes), torch.float32, like), sizes),
            torch.split(_zeros(sum(sizes), torch.float32, like), sizes),
            torch.split(_zeros(sum(sizes), torch.int16, like), sizes),
            strict=True,
        )
        self._slots = [_Slot(*of_one) for of_one in state]
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
    """One parameter's state, all (numel,)."""

    def __init__(self, parameter: nn.Parameter, mean: Tensor, square: Tensor, rest: Tensor) -> None:
        self.parameter, self.mean, self.square = parameter, mean, square
        self.rest = rest if parameter.dtype == torch.bfloat16 else parameter.detach().flatten().float()
        """What a bf16 weight lacks to its master; of another weight the master itself."""
        self.grad: Tensor | None = None

    def master(self) -> Tensor:
        """In fp32, (numel,); a new tensor, or the one that is kept."""
        return join(self.parameter.detach().flatten(), self.rest) if self.rest.dtype == torch.int16 else self.rest

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
            kernels.call("adamw", weight, self.rest, self.mean, self.square, *either, *factors, weight.numel())
            return
        wide, master = grad.flatten().float() * clip, self.master()
        self.mean.lerp_(wide, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(wide, wide, value=1 - BETAS[1])
        denominator = (self.square / corrections[1]).sqrt_().add_(EPS)
        master.mul_(decay).addcdiv_(self.mean, denominator, value=-rate / corrections[0])
        if weight.dtype == torch.bfloat16:
            rounded, rest = split(master)
            self.rest.copy_(rest)
            weight.copy_(rounded.view_as(weight))
        else:
            weight.copy_(master.view_as(weight))


def split(master: Tensor) -> tuple[Tensor, Tensor]:
    """fp32 to the nearest bf16, and what is missing, so that `join` gives back the same bits.

    Halfway between two bf16 numbers it is the one farther from zero (torch: the even one). Which half the lower 16 bits
    were rounded over is then their sign as an int16; with ties to even it would take a 17th bit.
    """
    bits = master.view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16), bits.to(torch.int16)


def join(weight: Tensor, rest: Tensor) -> Tensor:
    """The master: what `split` took apart."""
    return ((weight.view(torch.int16).int() << 16) + rest).view(torch.float32)


def _zeros(count: int, dtype: torch.dtype, like: Tensor) -> Tensor:
    """(count,), one stretch of memory for all parameters."""
    state = torch.empty(count, dtype=dtype, device=like.device)
    if state.device.type == "cpu" and type(state) is Tensor:
        use_large_pages(state.data_ptr(), state.nbytes)
    return state.zero_()


def _square_sum(grad: Tensor) -> Tensor:
    """A scalar in fp64."""
    if kernels.takes(grad):
        partial = torch.zeros(torch.get_num_threads(), dtype=torch.float64)
        kernels.call("square_sum", grad, partial, grad.numel())
        return partial.sum()
    norm: Tensor = torch.linalg.vector_norm(grad, dtype=torch.float32)
    return norm.double().square()
