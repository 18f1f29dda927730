"""AdamW with fp32 master weights for 16-bit parameters, the whole update in one pass over memory.

When every weight is trained the update is bound by memory: gradient, two moments, master and weight of each parameter
are read or written once here, and a bf16 gradient is copied to fp32 only if micro-batches must be added up. A bf16
weight is the upper 16 bits of its fp32 master, so only the lower 16 bits (the residual bits) are stored beside it:
exact, and 2 bytes a weight in place of 4. The update is algorithm 2 of Loshchilov & Hutter 2017, as in torch's AdamW.
Moments are fp32 here and 8 bits in `eight_bit`; other rules (`optimizers`) store their own beside the same masters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semtune.errors import ModelError
from semtune.nn.kernels import supports, training_operators
from semtune.runtime.malloc import use_large_pages
from semtune.training.wide import wide, wide_dtype

BETAS = (0.9, 0.999)
EPS = 1e-8


class Factors(NamedTuple):
    """The factors of AdamW's update t, which are the same for every weight of a parameter."""

    @classmethod
    def at(cls, step: int, learning_rate: float, weight_decay: float, clip: Tensor) -> Factors:
        """The factors of update `step`, counted from 1."""
        first, second = (1 - beta**step for beta in BETAS)
        return cls(learning_rate, 1 - learning_rate * weight_decay, 1 / first, second**-0.5, clip)

    learning_rate: float
    decay: float
    """1 - learning_rate · weight_decay."""
    mean_correction: float
    """1 / (1 - beta1^t): bias correction of the first moment."""
    root_correction: float
    """1 / sqrt(1 - beta2^t): bias correction of the square root of the second moment."""
    clip: Tensor
    """min(1, max_grad_norm / norm), a scalar that multiplies the gradient."""

    def for_kernel(self) -> tuple[float, ...]:
        """The scalar arguments of the compiled operators `adamw_` and `adamw_8bit_`, in their order."""
        corrections = (self.mean_correction, self.root_correction)
        return self.learning_rate, *BETAS, EPS, self.decay, *corrections, float(self.clip)


class ParameterState:
    """A bf16 parameter, the low 16 bits of its fp32 master weight, and its accumulated gradient.

    An fp16 parameter has a whole fp32 master in place of the residual bits; an fp32 or fp64 one is its own master.
    Subclasses add what their update rule stores, such as moments.

    Args:
        master: whether a 16-bit parameter has an fp32 master weight.
        residual_bits: int16 (numel,) zeros to use for a bf16 parameter; None: allocated here.
    """

    def __init__(self, parameter: nn.Parameter, *, master: bool, residual_bits: Tensor | None = None) -> None:
        self.parameter = parameter
        self.grad: Tensor | None = None
        self.steps = 0
        """Number of updates made; during an update its own number, t of the bias correction."""
        self.residual_bits: Tensor | None = None
        self.master_copy: Tensor | None = None
        """The master weight of an fp16 parameter, fp32 (numel,)."""
        if master and parameter.dtype == torch.bfloat16:
            bits = zeros(parameter.numel(), torch.int16, parameter) if residual_bits is None else residual_bits
            self.residual_bits = bits
        elif master and parameter.dtype == torch.float16:
            self.master_copy = parameter.detach().flatten().float()

    def accumulate(self) -> None:
        """Take over `parameter.grad` and set it to None; from the second micro-batch on add it up, in fp32 at least."""
        new, self.parameter.grad = self.parameter.grad, None
        if new is not None:
            dtype = torch.promote_types(new.dtype, torch.float32)
            self.grad = new if self.grad is None else self.grad.to(dtype).add_(new)

    def master(self, part: slice = slice(None)) -> Tensor:
        """Elements `part` of the flattened master weight, fp32 (fp64 for an fp64 parameter).

        A view of `master_copy` or of an fp32 or fp64 parameter; a new tensor for bf16.
        """
        if self.master_copy is not None:
            return self.master_copy[part]
        weight = self.parameter.detach().flatten()[part]
        if self.residual_bits is None:
            return weight.to(torch.promote_types(weight.dtype, torch.float32))
        return join(weight, self.residual_bits[part])

    def write_back(self, master: Tensor, part: slice = slice(None)) -> None:
        """Round `master`, the new elements `part`, into the parameter; the residual bits store what rounding lost."""
        weight = self.parameter.data.flatten()[part]
        if self.residual_bits is not None:
            rounded, residual = split(master)
            self.residual_bits[part].copy_(residual)
            weight.copy_(rounded)
        else:
            weight.copy_(master)

    def supports_kernel(self) -> bool:
        """Whether a compiled operator can update the parameter with `grad`."""
        return self.grad is not None and supports(self.parameter.data) and self.grad.is_contiguous()

    def step(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        """Count one update, make it with `grad`, which `clip` (a scalar) multiplies, and drop the gradient."""
        self.steps += 1
        self.update(learning_rate, weight_decay, clip)
        self.grad = None

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        """Update the parameter and what is stored with `grad`."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor of the state that a checkpoint needs beside the parameter: references, not copies."""
        stored = {"residual_bits": self.residual_bits, "master": self.master_copy}
        return {name: tensor for name, tensor in stored.items() if tensor is not None}


class ParameterStates:
    """The states, by name, of parameters that share a learning rate and a weight decay."""

    def __init__(self, states: Mapping[str, ParameterState], weight_decay: float) -> None:
        self.states, self.weight_decay = dict(states), weight_decay

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters by name."""
        return {name: state.parameter for name, state in self.states.items()}

    def accumulate(self) -> None:
        """Take over every parameter's gradient; called after each backward."""
        for state in self.states.values():
            state.accumulate()

    def square_norm(self) -> Tensor:
        """The sum of squares of all gradients, a scalar in fp64."""
        squares = [square_sum(state.grad) for state in self.states.values() if state.grad is not None]
        device = next(iter(self.states.values())).parameter.device
        return torch.stack(squares).sum() if squares else torch.zeros((), dtype=wide_dtype(device), device=device)

    def norm(self) -> Tensor:
        """The L2 norm over all gradients, a scalar in fp64."""
        return self.square_norm().sqrt()

    def scale(self, clip: Tensor) -> None:
        """Does nothing: `step` scales the gradients, which it reads anyway."""

    @torch.no_grad()
    def step(self, learning_rate: float, clip: Tensor) -> None:
        """Update every parameter that has a gradient, which `clip` multiplies, and drop the gradients."""
        for state in self.states.values():
            if state.grad is not None:
                state.step(learning_rate, self.weight_decay, clip)

    def take(self, name: str) -> Tensor:
        """Take over the gradient of one parameter; returns the sum of its squares, a scalar in fp64."""
        state = self.states[name]
        state.accumulate()
        assert state.grad is not None
        return square_sum(state.grad)

    def drop(self, name: str) -> None:
        """Forget the gradient of one parameter."""
        self.states[name].grad = None

    @torch.no_grad()
    def step_one(self, name: str, learning_rate: float, clip: Tensor) -> None:
        """Update one parameter with the gradient that `take` has taken over."""
        self.states[name].step(learning_rate, self.weight_decay, clip)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Parameter name → tensor name → tensor (a reference); `step` is an int64 scalar."""
        return {name: {"step": torch.tensor(state.steps), **state.tensors()} for name, state in self.states.items()}

    def load_state_dict(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copy what `state_dict` returned. Raises ModelError where names, shapes or dtypes differ."""
        for name, state in self.states.items():
            copy_tensors(name, state.tensors(), {k: v for k, v in saved[name].items() if k != "step"})
            state.steps = int(saved[name]["step"])


class FullState(ParameterState):
    """A 16-bit parameter with its master and both moments in fp32, (numel,)."""

    def __init__(self, parameter: nn.Parameter, mean: Tensor, square: Tensor, residual_bits: Tensor) -> None:
        super().__init__(parameter, master=True, residual_bits=residual_bits)
        self.mean, self.square = mean, square

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        grad = self.grad
        assert grad is not None
        factors = Factors.at(self.steps, learning_rate, weight_decay, clip)
        if self.supports_kernel():
            state = (self.residual_bits, self.mean, self.square)
            training_operators.adamw_(self.parameter.data, *state, grad, *factors.for_kernel())
            return
        grad32, master = grad.flatten().float() * factors.clip, self.master()
        self.mean.lerp_(grad32, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(grad32, grad32, value=1 - BETAS[1])
        denominator = self.square.sqrt().mul_(factors.root_correction).add_(EPS)
        step_size = factors.learning_rate * factors.mean_correction
        self.write_back(master.mul_(factors.decay).addcdiv_(self.mean, denominator, value=-step_size))

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "exp_avg": self.mean, "exp_avg_sq": self.square}


class Flat(NamedTuple):
    """What the states of several parameters store, each (total elements,), one parameter behind the other."""

    mean: Tensor
    square: Tensor
    residual_bits: Tensor


def allocated(parameters: Mapping[str, nn.Parameter]) -> tuple[dict[str, FullState], Flat]:
    """States of 16-bit parameters with fp32 masters and moments; each kind of state is one allocation, split up."""
    sizes = [parameter.numel() for parameter in parameters.values()]
    like = next(iter(parameters.values()))
    flat = Flat(*(zeros(sum(sizes), dtype, like) for dtype in (torch.float32, torch.float32, torch.int16)))
    parts = zip(parameters.values(), *(torch.split(kind, sizes) for kind in flat), strict=True)
    return dict(zip(parameters, (FullState(*of_one) for of_one in parts), strict=True)), flat


def masters(parameters: Mapping[str, nn.Parameter], weight_decay: float) -> ParameterStates:
    """States of 16-bit parameters with fp32 masters and moments, each parameter updated by itself."""
    return ParameterStates(allocated(parameters)[0], weight_decay)


def split(master: Tensor) -> tuple[Tensor, Tensor]:
    """Split fp32 (n,) into the nearest bf16 and residual bits, int16; `join` restores exactly the same bits.

    Halfway between two bf16 numbers the one farther from zero is taken (torch takes the even one). The sign of the
    int16 then says in which direction was rounded; with ties to even that would take a 17th bit.
    """
    bits = master.view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16), bits.to(torch.int16)


def join(weight: Tensor, residual_bits: Tensor) -> Tensor:
    """The fp32 master weight of a bf16 weight and its residual bits: the inverse of `split`."""
    return ((weight.view(torch.int16).int() << 16) + residual_bits).view(torch.float32)


def zeros(count: int, dtype: torch.dtype, like: Tensor) -> Tensor:
    """(count,) zeros on the device of `like`, in 2 MB pages where Linux has them."""
    state = torch.empty(count, dtype=dtype, device=like.device)
    if state.device.type == "cpu" and type(state) is Tensor:
        use_large_pages(state.data_ptr(), state.nbytes)
    return state.zero_()


@torch.no_grad()
def copy_tensors(parameter: str, targets: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy the optimizer state of one parameter into `targets`. Raises ModelError where the two do not agree."""
    if targets.keys() != saved.keys():
        raise ModelError(
            f"The optimizer state of {parameter} holds {', '.join(sorted(saved)) or 'nothing'} instead of "
            f"{', '.join(sorted(targets)) or 'nothing'}; go on with the optimizer and precision that wrote it."
        )
    for name, target in targets.items():
        if (saved[name].shape, saved[name].dtype) != (target.shape, target.dtype):
            raise ModelError(
                f"{name} in the optimizer state of {parameter} is {saved[name].dtype} {tuple(saved[name].shape)}, not "
                f"{target.dtype} {tuple(target.shape)}; go on with the model and method that wrote it."
            )
        target.copy_(saved[name])


def square_sum(grad: Tensor) -> Tensor:
    """The sum of squares of a gradient, a scalar in fp64."""
    if supports(grad):
        partial: Tensor = training_operators.square_sum(grad)
        return partial.sum()
    norm: Tensor = torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32))
    return wide(norm).square()
