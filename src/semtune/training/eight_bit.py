"""AdamW whose moments are stored in 8 bits, block by block (Dettmers, Lewis, Shleifer & Zettlemoyer 2022, section 2).

A moment thus takes 1 + 4/256 bytes per element in place of 4. An update dequantises both, computes in fp32 as `masters`
does, and quantises them again. Unlike the paper's, a second moment above zero is not rounded to zero, because the
first moment would then be divided by `EPS` alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.blockwise import BLOCK, dequantize, dynamic_type, quantize
from semtune.nn.kernels import training_operators
from semtune.nn.operator_registry import composite
from semtune.training.chunks import chunks, masters_of
from semtune.training.masters import BETAS, EPS, Factors, ParameterState, ParameterStates, zeros

SMALLEST = 4096
"""Parameters with fewer elements have fp32 moments, as in bitsandbytes: there is little to save."""
_MEANS, _SQUARES = dynamic_type(signed=True), dynamic_type(signed=False)
"""The 256 levels of the signed and the unsigned code, made on import so that they are never fake tensors of a plan."""


class EightBitState(ParameterState):
    """A parameter with both moments as codes, uint8 (blocks, 256), and scales, fp32 (blocks,)."""

    def __init__(self, parameter: nn.Parameter, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        blocks = -(-parameter.numel() // BLOCK)
        self.mean_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK).fill_(_MEANS.zero)
        self.square_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK)
        self.mean_scales = zeros(blocks, torch.float32, parameter)
        self.square_scales = zeros(blocks, torch.float32, parameter)

    def update(self, learning_rate: float, weight_decay: float, clip: Tensor) -> None:
        assert self.grad is not None
        factors = Factors.at(self.steps, learning_rate, weight_decay, clip)
        moments = (self.mean_codes, self.mean_scales, self.square_codes, self.square_scales)
        if self.supports_kernel() and self.master_copy is None:
            tables = (_MEANS.levels, _MEANS.middles, _MEANS.first, _SQUARES.levels, _SQUARES.middles, _SQUARES.first)
            arguments = (self.parameter.data, self.residual_bits, *moments, self.grad, *tables)
            training_operators.adamw_8bit_(*arguments, *factors.for_kernel())
            return
        scalars = (factors.learning_rate, factors.decay, factors.mean_correction, factors.root_correction)
        weights = (self.parameter.data, self.residual_bits, self.master_copy)
        _update_by_formula(*weights, *moments, self.grad, factors.clip, *scalars)

    def tensors(self) -> dict[str, Tensor]:
        return {
            **super().tensors(),
            "exp_avg_codes": self.mean_codes,
            "exp_avg_scales": self.mean_scales,
            "exp_avg_sq_codes": self.square_codes,
            "exp_avg_sq_scales": self.square_scales,
        }


@composite(
    "adamw_8bit_formula_(Tensor(a!) weight, Tensor(b!)? residual_bits, Tensor(c!)? master_copy, "
    "Tensor(d!) mean_codes, Tensor(e!) mean_scales, Tensor(f!) square_codes, Tensor(g!) square_scales, Tensor grad, "
    "Tensor clip, float learning_rate, float decay, float mean_correction, float root_correction) -> ()",
    chunked=True,
)
def _update_by_formula(
    weight: Tensor, residual_bits: Tensor | None, master_copy: Tensor | None, mean_codes: Tensor, mean_scales: Tensor,
    square_codes: Tensor, square_scales: Tensor, grad: Tensor, clip: Tensor, learning_rate: float,
    decay: float, mean_correction: float, root_correction: float,
) -> None:  # fmt: skip
    """One AdamW update in torch operations, a chunk at a time; for devices and dtypes without a kernel."""
    state = masters_of(weight, residual_bits, master_copy)
    moments = (mean_codes, mean_scales, square_codes, square_scales)
    scalars = (learning_rate, decay, mean_correction, root_correction)
    for part in chunks(weight.numel(), weight, BLOCK):
        _update_chunk(state, part, moments, grad.flatten()[part], clip, scalars)


def _update_chunk(
    state: ParameterState, part: slice, moments: tuple[Tensor, ...], grad: Tensor, clip: Tensor,
    scalars: tuple[float, float, float, float],
) -> None:  # fmt: skip
    """Update the elements `part`, whole blocks but for the last; `grad` is that part's."""
    (learning_rate, decay, mean_correction, root_correction), device = scalars, grad.device
    rows, length = slice(part.start // BLOCK, -(-part.stop // BLOCK)), part.stop - part.start
    mean_codes, mean_scales, square_codes, square_scales = (x[rows] for x in moments)
    grad32 = (grad.float() * clip.to(device)).float()
    grad32 = F.pad(grad32, (0, -length % BLOCK)).view(-1, BLOCK)  # (blocks, 256)
    means, squares = _tables(device)
    mean = dequantize(mean_codes, mean_scales, means[0])
    square = dequantize(square_codes, square_scales, squares[0])
    mean.lerp_(grad32, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(grad32, grad32, value=1 - BETAS[1])
    change = mean / square.sqrt().mul_(root_correction).add_(EPS)
    master = state.master(part).mul_(decay)
    master.add_(change.view(-1)[:length], alpha=-learning_rate * mean_correction)
    state.write_back(master, part)
    mean_codes[:], mean_scales[:] = quantize(mean, means[1])
    square_codes[:], square_scales[:] = quantize(square, squares[1], keep_positive=True)


@functools.cache
def _tables(device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Levels and middles of both codes. Kept, because copying them to a GPU waits for all work that is queued there."""
    means, squares = ((t.levels.to(device), t.middles.to(device)) for t in (_MEANS, _SQUARES))
    return means, squares


def eight_bit(parameters: Mapping[str, nn.Parameter], weight_decay: float, *, master_weights: bool) -> ParameterStates:
    """States with 8-bit moments; with `master_weights` 16-bit parameters have fp32 masters."""
    states = {name: EightBitState(p, master=master_weights) for name, p in parameters.items()}
    return ParameterStates(states, weight_decay)


def has_eight_bit_moments(parameter: Tensor) -> bool:
    """Whether the parameter is large enough for 8-bit moments to save memory."""
    return parameter.numel() >= SMALLEST
