"""Dropout whose mask is a function of a seed (SplitMix64, Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).

A mask costs as much as reading the numbers it covers, so it is made again in backward instead of being kept. Element i
of a tensor, counted in memory's order, gets 16 bits: those number i mod 4, the lowest first, of

    z = seed + ⌊i/4⌋ · 0x9e3779b97f4a7c15;  z = (z ⊕ z >> 30) · 0xbf58476d1ce4e5b9;
    z = (z ⊕ z >> 27) · 0x94d049bb133111eb;  z ⊕ z >> 31                                       (mod 2^64)

and is dropped when they are below `threshold`. Integers alone: the same mask on every machine and device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from semtune.nn import kernels

_STEPS = 65536
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Keep(NamedTuple):
    """Which elements are kept."""

    seed: int
    """Of 64 bits."""
    threshold: int
    """Of 65536: how many values drop."""

    @property
    def share(self) -> float:
        """The share of elements kept, to be divided by."""
        return 1 - self.threshold / _STEPS


def draw_keep(dropout: float, x: Tensor) -> Keep:
    """A new mask for x, from torch's global generator; `dropout` in [0, 1) is realised in steps of 1/65536."""
    # A fake tensor has no values to drop, and a seed cannot be read back where every new tensor is fake.
    seed = (
        0
        if isinstance(x, FakeTensor)
        else int(torch.empty((), dtype=torch.int64, device="cpu").random_(-(2**63), None))
    )
    return Keep(seed % 2**64, min(round(dropout * _STEPS), _STEPS - 1))


def dropped(x: Tensor, keep: Keep) -> Tensor:
    """x where kept, else 0: not scaled. A new tensor of x's shape."""
    x = x.contiguous()
    if kernels.takes(x):
        out = torch.empty_like(x)
        kernels.call("dropout", x, out, x.numel(), keep.seed, keep.threshold)
        return out
    return x * keep_mask(x, keep)


def add_kept_(total: Tensor, more: Tensor, keep: Keep) -> Tensor:
    """total + more where kept, in place; both of the shape that was dropped."""
    if kernels.takes(total, more):
        kernels.call("add_kept", total, more, total.numel(), keep.seed, keep.threshold)
        return total
    return total.add_(more * keep_mask(more, keep))


@kernels.routine
def keep_mask(x: Tensor, keep: Keep) -> Tensor:
    """bool, of x's shape: True where kept."""
    count = x.numel()
    z = torch.arange(-(-count // 4), device=x.device) * _signed(_MULTIPLIERS[0]) + _signed(keep.seed)
    z = (z ^ _shifted(z, 30)) * _signed(_MULTIPLIERS[1])
    z = (z ^ _shifted(z, 27)) * _signed(_MULTIPLIERS[2])
    lanes = (z ^ _shifted(z, 31)).view(torch.int16)[:count]
    # int16 holds the 16 bits as a number from -32768 on; the top half of the unsigned range is negative there
    unsigned = lanes.int() & (_STEPS - 1)
    return (unsigned >= keep.threshold).view(x.shape)


def _signed(bits: int) -> int:
    """A 64-bit pattern as the int64 that torch multiplies and adds modulo 2^64."""
    return bits - 2**64 if bits >= 2**63 else bits


def _shifted(z: Tensor, places: int) -> Tensor:
    """z >> places, zeros coming in."""
    return (z >> places) & ((1 << (64 - places)) - 1)
