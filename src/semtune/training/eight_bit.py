"""AdamW whose moments are kept in 8 bits, block by block (Dettmers, Lewis, Shleifer & Zettlemoyer 2022, section 2).

A moment thus takes 1 + 4/256 bytes in place of 4. An update unpacks both, computes in fp32 as `masters` does, and packs
them again. One thing is not the paper's: a second moment above zero is not rounded to zero, as a first moment over it
would be divided by `EPS` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn.blockwise import BLOCK, dequantize, dynamic_type, quantize
from semtune.nn.kernels import training_operators
from semtune.nn.operator_registry import composite
from semtune.training.masters import BETAS, EPS, Factors, ParameterState, ParameterStates, wide_copy, zeros

SMALLEST = 4096
"""Parameters with fewer numbers keep fp32 moments, as in bitsandbytes: there is nothing to save."""
_MEANS, _SQUARES = dynamic_type(signed=True), dynamic_type(signed=False)
"""Made on import: a plan's fake tensors must not get into them."""
_CHUNK = 1 << 20  # numbers that are unpacked at a time; a multiple of BLOCK


class EightBitState(ParameterState):
    """With two moments as codes, uint8 (blocks, 256), and scales, fp32 (blocks,)."""

    def __init__(self, parameter: nn.Parameter, *, master: bool) -> None:
        rest = None
        if master and parameter.dtype == torch.bfloat16:
            rest = zeros(parameter.numel(), torch.int16, parameter)
        elif master and parameter.dtype == torch.float16:
            rest = wide_copy(parameter)
        super().__init__(parameter, rest)
        blocks = -(-parameter.numel() // BLOCK)
        self.mean_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK).fill_(_MEANS.zero)
        self.square_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK)
        self.mean_scales = zeros(blocks, torch.float32, parameter)
        self.square_scales = zeros(blocks, torch.float32, parameter)

    def update(self, factors: Factors) -> None:
        assert self.grad is not None
        moments = (self.mean_codes, self.mean_scales, self.square_codes, self.square_scales)
        if self.supports_kernel() and (self.rest is None or self.rest.dtype == torch.int16):
            tables = (_MEANS.levels, _MEANS.middles, _MEANS.first, _SQUARES.levels, _SQUARES.middles, _SQUARES.first)
            arguments = (self.parameter.data, self.rest, *moments, self.grad, *tables)
            training_operators.adamw_8bit_(*arguments, *factors.for_kernel())
            return
        numbers = (factors.rate, factors.decay, factors.first, factors.second)
        _update_by_formula(self.parameter.data, self.rest, *moments, self.grad, factors.clip, *numbers)


@composite(
    "adamw_8bit_formula_(Tensor(a!) weight, Tensor(b!)? residual, Tensor(c!) mean_codes, Tensor(d!) mean_scales, "
    "Tensor(e!) square_codes, Tensor(f!) square_scales, Tensor grad, Tensor clip, float learning_rate, float decay, "
    "float mean_factor, float square_factor) -> ()",
    chunked=True,
)
def _update_by_formula(
    weight: Tensor, rest: Tensor | None, mean_codes: Tensor, mean_scales: Tensor, square_codes: Tensor,
    square_scales: Tensor, grad: Tensor, clip: Tensor, rate: float, decay: float, first: float, second: float,
) -> None:  # fmt: skip
    """One update, a chunk of the parameter at a time."""
    state, moments = (
        ParameterState(nn.Parameter(weight, requires_grad=False), rest),
        (mean_codes, mean_scales, square_codes, square_scales),
    )
    for start in range(0, weight.numel(), _CHUNK):
        part = slice(start, min(start + _CHUNK, weight.numel()))
        _update_chunk(state, part, moments, grad.flatten()[part], clip, (rate, decay, first, second))


def _update_chunk(
    state: ParameterState, part: slice, moments: tuple[Tensor, ...], grad: Tensor, clip: Tensor,
    numbers: tuple[float, float, float, float],
) -> None:  # fmt: skip
    (rate, decay, first, second), device = numbers, grad.device
    rows, length = slice(part.start // BLOCK, -(-part.stop // BLOCK)), part.stop - part.start
    mean_codes, mean_scales, square_codes, square_scales = (x[rows] for x in moments)
    clipped = (grad.float() * clip.to(device)).float()
    clipped = F.pad(clipped, (0, -length % BLOCK)).view(-1, BLOCK)
    mean = dequantize(mean_codes, mean_scales, _MEANS.levels.to(device))
    square = dequantize(square_codes, square_scales, _SQUARES.levels.to(device))
    mean.lerp_(clipped, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(clipped, clipped, value=1 - BETAS[1])
    change = mean / square.sqrt().mul_(second).add_(EPS)
    master = state.master(part).mul_(decay)
    master.add_(change.view(-1)[:length], alpha=-rate * first)
    state.put(master, part)
    middles = _MEANS.middles.to(device), _SQUARES.middles.to(device)
    mean_codes[:], mean_scales[:] = quantize(mean, middles[0])
    square_codes[:], square_scales[:] = quantize(square, middles[1], keep_positive=True)


def eight_bit(parameters: Sequence[nn.Parameter], weight_decay: float, *, master_weights: bool) -> ParameterStates:
    """Parameters with 8-bit moments; with `master_weights` 16-bit ones have fp32 masters."""
    return ParameterStates([EightBitState(p, master=master_weights) for p in parameters], weight_decay)


def takes_eight_bits(parameter: Tensor) -> bool:
    """Whether its moments are worth packing."""
    return parameter.numel() >= SMALLEST
