"""AdamW whose moments are stored in 8 bits, block by block (Dettmers, Lewis, Shleifer & Zettlemoyer 2022, section 2).

A moment thus takes 1 + 4/256 bytes in place of 4. An update dequantises both, computes in fp32 as `masters` does, and
quantises them again. One thing is not the paper's: a second moment above zero is not rounded to zero, because the first
moment would then be divided by `EPS` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semtune.nn import kernels
from semtune.nn.blockwise import BLOCK, dequantize, dynamic_type, quantize
from semtune.training.masters import BETAS, EPS, Factors, ParameterState, ParameterStates, zeros

SMALLEST = 4096
"""Parameters with fewer elements have fp32 moments, as in bitsandbytes: there is little to save."""
_MEANS, _SQUARES = dynamic_type(signed=True), dynamic_type(signed=False)
"""Made on import, so that they are never fake tensors of a plan."""
_CHUNK = 1 << 20  # elements that are dequantised at a time; a multiple of BLOCK


class EightBitState(ParameterState):
    """With both moments as codes, uint8 (blocks, 256), and scales, fp32 (blocks,)."""

    def __init__(self, parameter: nn.Parameter, *, master: bool) -> None:
        super().__init__(parameter, master=master)
        blocks = -(-parameter.numel() // BLOCK)
        self.mean_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK).fill_(_MEANS.zero)
        self.square_codes = zeros(blocks * BLOCK, torch.uint8, parameter).view(blocks, BLOCK)
        self.mean_scales = zeros(blocks, torch.float32, parameter)
        self.square_scales = zeros(blocks, torch.float32, parameter)

    def update(self, factors: Factors) -> None:
        given, count = self.gradients(), self.parameter.numel()
        if given is not None and self.master_copy is None:
            tables = (_MEANS.levels, _MEANS.middles, _MEANS.first, _SQUARES.levels, _SQUARES.middles, _SQUARES.first)
            state = (self.residual_bits, self.mean_codes, self.mean_scales, self.square_codes, self.square_scales)
            kernels.call("adamw_8bit", self.parameter.data, *state, *given, *tables, *factors.for_kernel(), count)
            return
        for start in kernels.rounds(range(0, count, _CHUNK)):
            self._update_part(slice(start, min(start + _CHUNK, count)), factors)

    def _update_part(self, part: slice, factors: Factors) -> None:
        assert self.grad is not None
        rows, length = slice(part.start // BLOCK, -(-part.stop // BLOCK)), part.stop - part.start
        device = self.mean_codes.device
        grad32 = (self.grad.flatten()[part].float() * factors.clip.to(device)).float()
        grad32 = F.pad(grad32, (0, -length % BLOCK)).view(-1, BLOCK)  # (blocks, 256)
        mean = dequantize(self.mean_codes[rows], self.mean_scales[rows], _MEANS.levels.to(device))
        square = dequantize(self.square_codes[rows], self.square_scales[rows], _SQUARES.levels.to(device))
        mean.lerp_(grad32, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(grad32, grad32, value=1 - BETAS[1])
        change = mean / square.sqrt().mul_(factors.second).add_(EPS)
        master = self.master(part).mul_(factors.decay)
        master.add_(change.view(-1)[:length], alpha=-factors.rate * factors.first)
        self.write_back(master, part)
        middles = _MEANS.middles.to(device), _SQUARES.middles.to(device)
        self.mean_codes[rows], self.mean_scales[rows] = quantize(mean, middles[0])
        self.square_codes[rows], self.square_scales[rows] = quantize(square, middles[1], keep_positive=True)

    def tensors(self) -> dict[str, Tensor]:
        return {
            **super().tensors(),
            "exp_avg_codes": self.mean_codes,
            "exp_avg_scales": self.mean_scales,
            "exp_avg_sq_codes": self.square_codes,
            "exp_avg_sq_scales": self.square_scales,
        }


def eight_bit(parameters: Mapping[str, nn.Parameter], weight_decay: float, *, master_weights: bool) -> ParameterStates:
    """Parameters with 8-bit moments; with `master_weights` those of 16 bits have fp32 masters."""
    states = {name: EightBitState(p, master=master_weights) for name, p in parameters.items()}
    return ParameterStates(states, weight_decay)


def has_eight_bit_moments(parameter: Tensor) -> bool:
    """Whether the parameter is large enough for 8-bit moments to save memory."""
    return parameter.numel() >= SMALLEST
