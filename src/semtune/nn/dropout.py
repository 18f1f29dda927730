"""Dropout whose mask is a function of a seed (SplitMix64, Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).

Computing a mask takes as long as reading the numbers it covers, so backward computes it again and nothing is saved.
Element i of a tensor, in memory order, gets 16 bits, number i mod 4 (lowest first) of

    z = seed + ⌊i/4⌋ · 0x9e3779b97f4a7c15;  z = (z ⊕ z >> 30) · 0xbf58476d1ce4e5b9;
    z = (z ⊕ z >> 27) · 0x94d049bb133111eb;  z ⊕ z >> 31                                       (mod 2^64)

and is dropped if they are below `threshold`. A GPU has torch's own generator (Philox, Salmon et al. 2011) seeded with
`seed` instead, in one kernel; its masks are other ones.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from semtune.nn.cuda_path import on_cuda
from semtune.nn.kernels import operators, supports
from semtune.nn.operator_registry import composite, negligible

_STEPS = 65536
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class DropoutMask(NamedTuple):
    """A dropout mask, as the two numbers that determine it."""

    seed: int
    """64 bits as an unsigned number."""
    threshold: int
    """An element is dropped if its 16 bits are below this (0 to 65535)."""

    @property
    def keep_probability(self) -> float:
        """The share of elements that are kept; their scale is 1 over it."""
        return 1 - self.threshold / _STEPS

    def signed(self) -> tuple[int, int]:
        """Seed and threshold as arguments of an operator: the seed's 64 bits as a signed number."""
        return _signed(self.seed), self.threshold


@composite("draw_seed() -> int", outputs=lambda: 0, cost=negligible)
def draw_seed() -> int:
    """64 bits of torch's global CPU generator as a signed number; an operator, because fake tensors have no values."""
    return int(torch.empty((), dtype=torch.int64, device="cpu").random_(-(2**63), None))


def draw_mask(dropout: float) -> DropoutMask:
    """A new mask from torch's global generator; `dropout` in [0, 1) is rounded to a multiple of 1/65536."""
    return DropoutMask(draw_seed() % 2**64, min(round(dropout * _STEPS), _STEPS - 1))


def apply_mask(x: Tensor, mask: DropoutMask) -> Tensor:
    """x where the mask keeps it, else 0; not scaled. A new tensor of x's shape."""
    x = x.contiguous()
    if supports(x):
        out: Tensor = operators.dropout(x, *mask.signed())
        return out
    return x * mask_tensor(x, mask)


def add_masked_(total: Tensor, delta: Tensor, mask: DropoutMask) -> Tensor:
    """total += delta where the mask keeps it; both have the shape that the mask was drawn for."""
    if supports(total, delta):
        operators.add_masked_(total, delta, *mask.signed())
        return total
    return total.add_(delta * mask_tensor(delta, mask))


def mask_tensor(x: Tensor, mask: DropoutMask) -> Tensor:
    """The mask as bool of x's shape: True where kept."""
    kept: Tensor = _mask_tensor(x, *mask.signed())
    return kept


@composite(
    "dropout_mask(Tensor x, int seed, int threshold) -> Tensor",
    outputs=lambda x, seed, threshold: torch.empty(x.shape, dtype=torch.bool, device=x.device),
)
def _mask_tensor(x: Tensor, seed: int, threshold: int) -> Tensor:
    if on_cuda(x):
        kept = torch.empty(x.shape, dtype=torch.bool, device=x.device)
        return kept.bernoulli_(1 - threshold / _STEPS, generator=_generator(x.device).manual_seed(seed))
    count = x.numel()
    z = torch.arange(-(-count // 4), device=x.device) * _signed(_MULTIPLIERS[0]) + seed
    z = (z ^ _shifted(z, 30)) * _signed(_MULTIPLIERS[1])
    z = (z ^ _shifted(z, 27)) * _signed(_MULTIPLIERS[2])
    lanes = (z ^ _shifted(z, 31)).view(torch.int16)[:count]
    # int16 is signed: its negative numbers are the upper half of the unsigned range
    unsigned = lanes.int() & (_STEPS - 1)
    return (unsigned >= threshold).view(x.shape)


@functools.cache
def _generator(device: torch.device) -> torch.Generator:
    """A generator that nothing else draws from; a new one for each mask would cost more than the mask."""
    return torch.Generator(device)


def _signed(bits: int) -> int:
    """A 64-bit pattern as the int64 that torch multiplies and adds modulo 2^64."""
    return bits - 2**64 if bits >= 2**63 else bits


def _shifted(z: Tensor, bits: int) -> Tensor:
    """z >> bits as a logical shift, of int64 z."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
