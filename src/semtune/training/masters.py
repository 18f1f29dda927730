"""AdamW over weights with state of our own: fp32 copies ("masters") of 16-bit weights, all of an update in one pass.

With every weight trained the update is bound by memory: gradient, two moments, master and weight of each are read or
written once here, and a gradient that came in bf16 is never copied to fp32 unless micro-batches must be added up. A
bf16 weight is the upper half of its master's bits, so only the lower half is kept beside it: exact, and 2 bytes in
place of 4. The update is that of Loshchilov & Hutter 2017, algorithm 2, as in torch's AdamW. Moments are in fp32 here,
in 8 bits in `eight_bit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semtune.nn.kernels import supports, training_operators
from semtune.runtime.malloc import use_large_pages

BETAS = (0.9, 0.999)
EPS = 1e-8


class Factors(NamedTuple):
    """What an update multiplies by."""

    rate: float
    decay: float
    """1 - rate · weight decay."""
    first: float
    """1 / (1 - beta1^t)."""
    second: float
    """1 / sqrt(1 - beta2^t)."""
    clip: Tensor
    """Of the gradient, a scalar."""

    def for_kernel(self) -> tuple[float, ...]:
        """In the compiled loops' order."""
        return self.rate, *BETAS, EPS, self.decay, self.first, self.second, float(self.clip)


class ParameterState:
    """One parameter, what it lacks to its master, and its gradient until the update.

    Args:
        rest: int16 (numel,): kept beside a bf16 weight; the master (numel,) of another one; None: there is no master.
    """

    def __init__(self, parameter: nn.Parameter, rest: Tensor | None) -> None:
        self.parameter, self.rest = parameter, rest
        self.grad: Tensor | None = None

    def collect(self) -> None:
        """Take the gradient; from the second micro-batch on they add up, in fp32 at least."""
        fresh, self.parameter.grad = self.parameter.grad, None
        if fresh is not None:
            wide = torch.promote_types(fresh.dtype, torch.float32)
            self.grad = fresh if self.grad is None else self.grad.to(wide).add_(fresh)

    def master(self, part: slice = slice(None)) -> Tensor:
        """That part of it in fp32 (fp64 for an fp64 weight); a new tensor, or a view of the one that is kept."""
        weight = self.parameter.detach().flatten()[part]
        if self.rest is None:
            return weight.to(torch.promote_types(weight.dtype, torch.float32))
        rest = self.rest[part]
        return join(weight, rest) if rest.dtype == torch.int16 else rest

    def put(self, master: Tensor, part: slice = slice(None)) -> None:
        """`master` as that part of the weight, and what it lacks to it."""
        weight = self.parameter.data.flatten()[part]
        if self.rest is not None and self.rest.dtype == torch.int16:
            rounded, rest = split(master)
            self.rest[part].copy_(rest)
            weight.copy_(rounded)
        else:
            weight.copy_(master)

    def supports_kernel(self) -> bool:
        """Whether a compiled operator can update the parameter with this gradient."""
        return self.grad is not None and supports(self.parameter.data) and self.grad.is_contiguous()

    def update(self, factors: Factors) -> None:
        """The parameter after one step, and the moments."""
        raise NotImplementedError


class ParameterStates:
    """Parameters of one learning rate with their state."""

    def __init__(self, slots: Sequence[ParameterState], weight_decay: float) -> None:
        self.slots, self._weight_decay = slots, weight_decay
        self._steps = 0

    def collect(self) -> None:
        """After each backward: take the gradients."""
        for slot in self.slots:
            slot.collect()

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64."""
        squares = [_square_sum(slot.grad) for slot in self.slots if slot.grad is not None]
        return torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def step(self, learning_rate: float, clip: Tensor) -> None:
        """One update with the gradients times `clip`, a scalar; the gradients are forgotten."""
        self._steps += 1
        first, second = (1 - beta**self._steps for beta in BETAS)
        decay = 1 - learning_rate * self._weight_decay
        factors = Factors(learning_rate, decay, 1 / first, second**-0.5, clip)
        for slot in self.slots:
            if slot.grad is not None:
                slot.update(factors)
                slot.grad = None


class _FullState(ParameterState):
    """With moments in fp32, (numel,)."""

    def __init__(self, parameter: nn.Parameter, mean: Tensor, square: Tensor, rest: Tensor) -> None:
        super().__init__(parameter, rest if parameter.dtype == torch.bfloat16 else wide_copy(parameter))
        self.mean, self.square = mean, square

    def update(self, factors: Factors) -> None:
        grad = self.grad
        assert grad is not None
        if self.supports_kernel():
            state = (self.rest, self.mean, self.square)
            training_operators.adamw_(self.parameter.data, *state, grad, *factors.for_kernel())
            return
        wide, master = grad.flatten().float() * factors.clip, self.master()
        self.mean.lerp_(wide, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(wide, wide, value=1 - BETAS[1])
        denominator = self.square.sqrt().mul_(factors.second).add_(EPS)
        self.put(master.mul_(factors.decay).addcdiv_(self.mean, denominator, value=-factors.rate * factors.first))


def masters(parameters: Sequence[nn.Parameter], weight_decay: float) -> ParameterStates:
    """16-bit parameters with fp32 masters and moments."""
    sizes = [parameter.numel() for parameter in parameters]
    like = parameters[0]
    state = zip(
        parameters,
        torch.split(zeros(sum(sizes), torch.float32, like), sizes),
        torch.split(zeros(sum(sizes), torch.float32, like), sizes),
        torch.split(zeros(sum(sizes), torch.int16, like), sizes),
        strict=True,
    )
    return ParameterStates([_FullState(*of_one) for of_one in state], weight_decay)


def wide_copy(parameter: nn.Parameter) -> Tensor:
    """The master of an fp16 weight, which is no upper half of anything."""
    return parameter.detach().flatten().float()


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


def zeros(count: int, dtype: torch.dtype, like: Tensor) -> Tensor:
    """(count,), one stretch of memory for all parameters."""
    state = torch.empty(count, dtype=dtype, device=like.device)
    if state.device.type == "cpu" and type(state) is Tensor:
        use_large_pages(state.data_ptr(), state.nbytes)
    return state.zero_()


def _square_sum(grad: Tensor) -> Tensor:
    """A scalar in fp64."""
    if supports(grad):
        partial: Tensor = training_operators.square_sum(grad)
        return partial.sum()
    norm: Tensor = torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32))
    return norm.double().square()
