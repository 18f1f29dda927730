"""Arguments for one call of every registered operator, small and real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semtune.nn import singular_values  # noqa: F401 - registers its operator
from semtune.nn.blockwise import BLOCK, dynamic_type
from semtune.nn.int4 import quantize_int4
from semtune.nn.nf4 import quantize_nf4


def bf16(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


def fp32(*shape: int) -> Tensor:
    return bf16(*shape).float()


def _counts(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def _positions() -> tuple[Any, ...]:
    """Two packed texts of 3 and 2 tokens with rotary angles, all of them queries."""
    starts, counts, positions = _counts(0, 3), _counts(3, 2), _counts(0, 1, 2, 0, 1, 2).view(2, 3)
    angles = fp32(3, 4)
    return starts, counts, positions, starts, counts, angles.cos(), angles.sin()


def _attention() -> tuple[Any, ...]:
    return bf16(5, 4, 8), bf16(5, 2, 8), bf16(5, 2, 8)


def _weights(*shape: int) -> tuple[Any, ...]:
    """A bf16 weight, the residual bits of its master, and no fp32 copy of it."""
    weight = bf16(*shape)
    return weight, torch.zeros(weight.numel(), dtype=torch.int16), None


def _nf4(dtype: torch.dtype) -> tuple[Any, ...]:
    packed = quantize_nf4(fp32(6, 64))
    return packed.codes.view(-1), packed.scales, packed.nested_absmax, packed.offset, torch.empty(6 * 64, dtype=dtype)


def _int4(dtype: torch.dtype) -> tuple[Any, ...]:
    packed = quantize_int4(fp32(6, 70))
    return packed.codes, packed.scales, packed.zeros, torch.empty(6 * 96, dtype=dtype)


def _moments(blocks: int) -> tuple[Tensor, ...]:
    codes = torch.zeros(blocks, BLOCK, dtype=torch.uint8)
    return codes, torch.zeros(blocks), codes.clone(), torch.zeros(blocks)


def _tables() -> tuple[Tensor, ...]:
    signed, unsigned = dynamic_type(signed=True), dynamic_type(signed=False)
    return signed.levels, signed.middles, signed.first, unsigned.levels, unsigned.middles, unsigned.first


_FACTORS = (1e-2, 0.9, 0.999, 1e-8, 0.99, 10.0, 30.0, 1.0)
_LOW_RANK: Callable[[], tuple[Tensor, ...]] = lambda: (bf16(5, 32), fp32(3, 32), fp32(16, 3))  # noqa: E731

SAMPLES: dict[str, Callable[[], list[tuple[Any, ...]]]] = {
    "rms_norm": lambda: [(bf16(5, 12), bf16(12), 1e-5)],
    "add_rms_norm": lambda: [(bf16(5, 12), bf16(5, 12), bf16(12), 1e-5)],
    "rms_norm_backward": lambda: [
        (bf16(5, 12), bf16(12), fp32(5, 1).abs(), bf16(5, 12), past) for past in (None, bf16(5, 12))
    ],
    "rms_norm_weight_grad": lambda: [(bf16(5, 12), fp32(5, 1).abs(), bf16(5, 12))],
    "swiglu": lambda: [(bf16(5, 12), bf16(5, 12))],
    "swiglu_backward": lambda: [(bf16(5, 12), bf16(5, 12), bf16(5, 12))],
    "dropout": lambda: [(bf16(5, 12), -7, 30000)],
    "add_masked_": lambda: [(bf16(5, 12), bf16(5, 12), -7, 30000)],
    "cross_entropy_": lambda: [(bf16(3, 17), torch.tensor([0, 16, 5]), needs) for needs in (True, False)],
    "row_argmax": lambda: [(bf16(5, 12),)],
    "scale_columns_": lambda: [(bf16(5, 12), fp32(12))],
    "scale_columns_backward": lambda: [(bf16(5, 12), bf16(5, 12), fp32(12), divisor) for divisor in (None, fp32(12))],
    "row_norms": lambda: [
        (crossed, 20 * fp32(12).abs(), fp32(3, 32), fp32(12, 3), 0.5) for crossed in (bf16(3, 12), fp32(3, 12))
    ],
    "row_scale": lambda: [(fp32(12), fp32(12).abs())],
    "pad": lambda: [(bf16(5, 4, 8), *_positions()[:3], *angles, 3) for angles in ((None, None), _positions()[5:])],
    "unpad": lambda: [(bf16(8, 3, 8), *_positions()[:3], *_positions()[5:], 4, 3, 5, 7)],
    "causal_softmax_": lambda: [(bf16(4, 6, 3), *_positions()[1:3], 0.5, 4, 3)],
    "short_attention": lambda: [(*_attention(), *_positions(), 0.5, 3, 3)],
    "short_attention_backward": lambda: [
        (*_attention(), bf16(5, 4, 8), needed, *_positions(), 0.5, 3, 3)
        for needed in ([True, True, True], [False, True, False])
    ],
    "add_low_rank_": lambda: [(*_LOW_RANK(), bf16(5, 16), 0.5, 3, threshold) for threshold in (0, 30000)],
    "low_rank_backward_": lambda: [
        (*_LOW_RANK(), bf16(5, 16), fp32(6, 16), past, 0.5, 3, 30000, needed)
        for past, needed in ((bf16(5, 32), [True, True]), (None, [False, True]))
    ],
    "adamw_": lambda: [
        (bf16(300), torch.zeros(300, dtype=torch.int16), fp32(300), fp32(300).abs(), grad, *_FACTORS)
        for grad in (bf16(300), fp32(300))
    ],
    "adamw_8bit_": lambda: [
        (bf16(300), torch.zeros(300, dtype=torch.int16), *_moments(2), bf16(300), *_tables(), *_FACTORS),
        (bf16(300), None, *_moments(2), fp32(300), *_tables(), *_FACTORS),
    ],
    "square_sum": lambda: [(bf16(300),)],
    "nf4_dequantize_": lambda: [_nf4(torch.bfloat16)],
    "nf4_dequantize_formula_": lambda: [_nf4(torch.float32)],
    "nf4_quantize": lambda: [(fp32(6, 64),), (bf16(5, 13),)],
    "int4_dequantize_": lambda: [
        (codes, scales.view(torch.int16), *rest) for codes, scales, *rest in [_int4(torch.bfloat16)]
    ],
    "int4_dequantize_formula_": lambda: [_int4(torch.float32)],
    "int4_quantize": lambda: [(fp32(6, 64), torch.float32), (bf16(5, 13), torch.float64)],
    "dropout_mask": lambda: [(fp32(5, 13), -7, 30000)],
    "draw_seed": lambda: [()],
    "row_square_sums": lambda: [(bf16(5, 13), torch.float32)],
    "linear_in_panels": lambda: [(bf16(2, 3, 13), bf16(7, 13), bf16(7)), (fp32(3, 13), bf16(700, 13).half(), None)],
    "grad_input_in_panels": lambda: [(bf16(3, 700), bf16(700, 13)), (fp32(3, 7), bf16(7, 13))],
    "grad_weight_in_panels": lambda: [(bf16(5, 700), bf16(5, 13))],
    "principal_triples": lambda: [(fp32(20, 13), 3, 2), (fp32(5, 13), 7, 0)],
    "product": lambda: [(fp32(2, 10, 32), fp32(16, 32), False, True), (fp32(20, 5), fp32(20, 7), True, False)],
    "prepack_weight": lambda: [(bf16(32, 16),)],
    "lion_": lambda: [(*_weights(6, 50), fp32(300), bf16(6, 50), torch.tensor(0.5), 1e-2, 0.1, 0.9, 0.99)],
    "adafactor_matrix_": lambda: [
        (
            *_weights(6, 50),
            fp32(1, 6, 1).abs(),
            fp32(1, 1, 50).abs(),
            bf16(6, 50),
            torch.tensor(0.5),
            1e-2,
            0.9,
            0.5,
            1.0,
            s,
        )
        for s in (False, True)
    ],
    "apollo_": lambda: [
        (
            *_weights(*shape),
            fp32(2, max(shape)),
            fp32(2, max(shape)).abs(),
            fp32(1).abs(),
            bf16(*shape),
            torch.tensor(0.5),
            fp32(2, min(shape)),
            1e-2,
            0.9,
            0.1,
            0.1,
            by_channel,
        )
        for shape, by_channel in (((6, 50), True), ((50, 6), True), ((6, 50), False))
    ],
    "mezo_shift_": lambda: [
        (bf16(6, 50), None, None, 5, 0.1, 0.9),
        (fp32(6, 50).half(), None, fp32(300), 5, 0.1, 1.0),
    ],
    "managed_zeros": lambda: [(300, bf16(6, 50))],
    "paged_adamw_": lambda: [(fp32(300), fp32(300), fp32(300).abs(), fp32(300), 3, 1e-2, 0.1)],
    "adamw_8bit_formula_": lambda: [
        (fp32(300), None, None, *_moments(2), fp32(300), torch.tensor(1.0), 1e-2, 0.99, 10.0, 30.0),
        (fp32(300).half(), None, fp32(300), *_moments(2), fp32(300), torch.tensor(1.0), 1e-2, 0.99, 10.0, 30.0),
    ],
}
