"""Masks made from a seed: against the published generator, their statistics, and the same from every implementation."""

from __future__ import annotations

import pytest
import torch

from semtune.nn import kernels
from semtune.nn.dropout import DropoutMask, add_masked_, apply_mask, draw_mask, mask_tensor


def splitmix64(seed: int, count: int) -> list[int]:
    """Steele, Lea & Flood 2014, in plain integers; the first number is that of the seed itself."""
    numbers = []
    for index in range(count):
        z = (seed + index * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_generator_is_splitmix64() -> None:
    """The reference's first output for the seed 1234567; it adds the constant before it mixes."""
    assert splitmix64((1234567 + 0x9E3779B97F4A7C15) % 2**64, 1) == [6457827717110365317]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
@pytest.mark.parametrize("threshold", [0, 1, 3277, 32768, 65535])
def test_the_mask_is_the_formula(seed: int, threshold: int) -> None:
    numbers = splitmix64(seed, 6)
    lanes = [(number >> (16 * lane)) & 0xFFFF for number in numbers for lane in range(4)]
    mask = mask_tensor(torch.empty(3, 7), DropoutMask(seed, threshold))  # 21 of 24 numbers
    assert mask.tolist() == torch.tensor([lane >= threshold for lane in lanes[:21]]).view(3, 7).tolist()


@pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")
@pytest.mark.parametrize("shape", [(1, 1), (3, 43), (2, 64), (5, 1023)])
@pytest.mark.parametrize(
    "drawn", [DropoutMask(0, 0), DropoutMask(2**64 - 5, 3277), DropoutMask(77, 40000), DropoutMask(5, 65535)]
)
def test_compiled_and_formula_agree_to_the_bit(shape: tuple[int, int], drawn: DropoutMask) -> None:
    x, more = torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16()
    mask = mask_tensor(x, drawn)
    assert torch.equal(apply_mask(x, drawn), x * mask)
    assert torch.equal(add_masked_(x.clone(), more, drawn), x + more * mask)
    assert (
        not torch.equal(mask, mask_tensor(x, DropoutMask(drawn.seed + 1, 32768))) or x.numel() == 1
    )  # the seed matters


@pytest.mark.parametrize("dropout", [0.001, 0.05, 0.5, 0.999999])
def test_share_kept(dropout: float) -> None:
    torch.manual_seed(0)
    x = torch.empty(1000, 401)
    drawn = draw_mask(dropout)
    mask, share = mask_tensor(x, drawn), drawn.keep_probability
    assert mask.shape == x.shape and share > 0
    assert abs(share - (1 - dropout)) <= 2**-16
    assert abs(mask.double().mean().item() - share) < 4 * (share * (1 - share) / mask.numel()) ** 0.5 + 1e-5
    assert abs(mask[:, 1:].double().mul(mask[:, :-1]).mean().item() - share**2) < 5e-3  # neighbours independent


def test_seeds_follow_the_global_generator() -> None:
    torch.manual_seed(3)
    first = [draw_mask(0.5) for _ in range(3)]
    torch.manual_seed(3)
    assert [draw_mask(0.5) for _ in range(3)] == first
    assert len({drawn.seed for drawn in first}) == 3
