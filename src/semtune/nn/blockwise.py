"""Block-wise quantisation of fp32 numbers to the 8-bit "dynamic" data types.

Dettmers 2016, arXiv:1511.04561; Dettmers, Lewis, Shleifer & Zettlemoyer 2022, "8-bit Optimizers via Block-wise
Quantization", ICLR.

Each block of numbers is divided by its largest absolute value, and each quotient becomes the nearest of 256 levels. The
levels cover seven decades, so that small numbers of a block also keep some relative precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 256
"""Numbers that share a scale (bitsandbytes' choice; the paper's was 2048)."""
_DECADES = 7
_CELL_SHIFT = 16
_SMALLEST_EXPONENT = -24
"""Quotients below 2^-24 are nearest to zero: the smallest level is 10^-6 · 0.3 at least."""
_CELLS = (-_SMALLEST_EXPONENT << (23 - _CELL_SHIFT)) + 1


def dynamic_levels(*, signed: bool = True) -> tuple[float, ...]:
    """The 256 levels of the 8-bit dynamic type, ascending, as exact fp32 values.

    The leading zero bits of a code give its decade, 10^-6 … 10^0. The remaining bits divide [0.1, 1] of that decade
    evenly: into 1 cell in the smallest decade and 64 in the largest, twice as many in unsigned types. A level is the
    middle of its cell. 0 and 1 are levels too.
    """
    levels = [0.0, 1.0]
    for bits in range(_DECADES):
        edges = torch.linspace(0.1, 1, 2 ** (bits + (not signed)) + 1, dtype=torch.float32, device="cpu")
        middles = 10.0 ** (bits - _DECADES + 1) * ((edges[:-1] + edges[1:]) / 2)
        levels += middles.tolist() + ((-middles).tolist() if signed else [])
    return tuple(sorted(levels))


@dataclass(frozen=True, slots=True)
class DynamicType:
    """The levels of one 8-bit type, and tables to find the nearest level of a quotient."""

    levels: Tensor
    """fp32 (256,), ascending."""
    middles: Tensor
    """fp32 (256,): the midpoint between each level and the next, infinity after the last. A midpoint rounds down."""
    first: Tensor
    """int32 (2, cells) for positive and negative quotients. A cell is a range of quotients with the same upper 16
    bits, counted from 2^-24 to 1. An entry is the lowest code in its cell; the nearest level is at most two higher."""

    @property
    def zero(self) -> int:
        """The code of zero."""
        return int(torch.searchsorted(self.levels, 0.0))


def dynamic_type(*, signed: bool) -> DynamicType:
    """The tables of the signed or the unsigned type, on the CPU."""
    levels = torch.tensor(dynamic_levels(signed=signed), dtype=torch.float32, device="cpu")
    middles = torch.cat([(levels[:-1] + levels[1:]) / 2, torch.tensor([math.inf])])
    bits = (torch.arange(_CELLS, dtype=torch.int32) + ((127 + _SMALLEST_EXPONENT) << (23 - _CELL_SHIFT))) << _CELL_SHIFT
    lowest = bits.view(torch.float32).clone()
    lowest[0] = 0.0
    next_up = (bits + (1 << _CELL_SHIFT) - 1).view(
        torch.float32
    )  # the lowest number of a negative cell has the largest bits
    first = torch.stack([torch.bucketize(x, middles, out_int32=True) for x in (lowest, -next_up)])
    return DynamicType(levels, middles, first)


def dequantize(codes: Tensor, scales: Tensor, levels: Tensor) -> Tensor:
    """Codes, uint8 (blocks, 256), and scales, fp32 (blocks,) -> values, fp32 (blocks, 256)."""
    return torch.take(levels, codes.long()).mul_(scales.unsqueeze(1))


def quantize(values: Tensor, middles: Tensor, *, keep_positive: bool = False) -> tuple[Tensor, Tensor]:
    """fp32 (blocks, 256) -> codes, uint8 (blocks, 256), and scales, fp32 (blocks,).

    Args:
        middles: see `DynamicType`.
        keep_positive: for unsigned types; a positive number gets at least code 1, even where 0 is nearer.
    """
    scales = values.abs().amax(dim=1)
    quotients = (values / scales.unsqueeze(1)).nan_to_num_(nan=0.0)  # 0 / 0 where a block is all zero
    codes = torch.bucketize(quotients, middles, out_int32=True)
    if keep_positive:
        codes.clamp_(min=1).mul_(values > 0)
    return codes.to(torch.uint8), scales
