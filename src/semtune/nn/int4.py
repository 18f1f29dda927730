"""INT4: 4-bit weights with a scale and a floating-point zero point for each output row and group of 32 inputs.

    W_ij = scale_ig · (code_ij - zero_ig),    code in 0 … 15,    g = ⌊j / 32⌋

The scale is (max - min) / 15 of the group, the zero point -min / scale (asymmetric min-max, rounded to the nearest
level, no calibration data). The zero point is not rounded to an integer, so adding one number to all weights of a group
changes its zero point and nothing else: that is what QA-LoRA needs (Xu et al. 2023, arXiv:2309.14717, algorithm 1,
whose alpha and beta are `scales` and `zeros` here). HQQ stores its weights in the same form.

Scales are bf16: codes and zero points are computed against the rounded scale. Zero points are fp32, as an update that
is merged into them is smaller than a step of bf16; in models that compute in fp64 they are fp64. A weight costs
4 + 16/32 + 32/32 = 5.5 bits. A row whose length is no multiple of 32 is stored as if it went on with its last weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semtune.nn.cuda_path import on_cuda
from semtune.nn.four_bit import look_up, pack_codes, pair_table
from semtune.nn.kernels import in_main_memory, run, supports
from semtune.nn.operator_registry import OperatorCost, compiled, composite, traffic_bytes

GROUP = 32
"""Consecutive weights of a row that share a scale and a zero point."""
LEVELS = 16

_QUANTIZE_CHUNK = 1 << 19  # weights at a time; each needs about 20 bytes meanwhile
_DEQUANTIZE_CHUNK = 1 << 17  # weights per thread and step: a step's values stay in the L2 cache
_DEQUANTIZE_CHUNK_CUDA = 1 << 22
_LEAST_RELATIVE_SCALE = 2.0**-20  # of the group's largest weight: zero points then stay exact in fp32
_LEAST_SCALE = 1e-30


@dataclass(frozen=True, slots=True)
class Int4Tensor:
    """A quantised (out, in) matrix; groups = ⌈in / 32⌉."""

    codes: Tensor
    """uint8 (out, groups · 16), two weights a byte, the earlier in the high half."""
    scales: Tensor
    """bf16 (out, groups)."""
    zeros: Tensor
    """fp32 or fp64 (out, groups), in units of the scale."""
    columns: int
    """in."""


def group_count(columns: int) -> int:
    """Groups of a row of `columns` weights; the last one may be partial."""
    return -(-columns // GROUP)


def quantize_int4(weight: Tensor, dtype: torch.dtype = torch.float32) -> Int4Tensor:
    """Quantise `weight` (out, in), of any float dtype, some rows at a time; `dtype` is that of the zero points."""
    codes, scales, zeros = _quantize(weight.detach(), dtype)
    return Int4Tensor(codes, scales, zeros, weight.shape[1])


def _quantized_outputs(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    rows, groups = weight.shape[0], group_count(weight.shape[1])
    return (
        weight.new_empty((rows, groups * GROUP // 2), dtype=torch.uint8),
        weight.new_empty((rows, groups), dtype=torch.bfloat16),
        weight.new_empty((rows, groups), dtype=dtype),
    )


@composite(
    "int4_quantize(Tensor weight, ScalarType dtype) -> (Tensor, Tensor, Tensor)",
    outputs=_quantized_outputs,
    chunked=True,
)
def _quantize(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scales and zero points."""
    rows, columns = weight.shape
    groups = group_count(columns)
    codes, scales, zeros = _quantized_outputs(weight, dtype)
    step = max(1, _QUANTIZE_CHUNK // (groups * GROUP))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        values = _padded(weight[part].to(dtype), groups * GROUP).view(-1, groups, GROUP)
        least, largest = torch.aminmax(values, dim=2, keepdim=True)  # (rows, groups, 1)
        scale = (largest - least) / (LEVELS - 1)
        scale = torch.maximum(scale, torch.maximum(largest, -least) * _LEAST_RELATIVE_SCALE)
        rounded = torch.where(scale > _LEAST_SCALE, scale, 1.0).to(torch.bfloat16)
        scale = rounded.to(dtype)
        nearest = ((values - least) / scale).round_().clamp_(0, LEVELS - 1)
        codes[part] = pack_codes(nearest.view(-1)).view(-1, groups * GROUP // 2)
        scales[part] = rounded.squeeze(2)
        zeros[part] = (-least / scale).squeeze(2)
    return codes, scales, zeros


def _padded(rows: Tensor, columns: int) -> Tensor:
    """`rows` (n, in) continued with each row's last element to (n, columns)."""
    missing = columns - rows.shape[1]
    return torch.cat([rows, rows[:, -1:].expand(-1, missing)], dim=1) if missing else rows.contiguous()


def dequantize_int4(quantized: Int4Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """The (out, in) matrix in `dtype`: scale × (code - zero) in the dtype of the zero points, rounded once.

    Args:
        out: (out · groups · 32,) in `dtype`, which is filled; None: a new tensor. The result is a view of it, whose
            rows are groups · 32 elements apart.
    """
    codes, scales, zeros = quantized.codes, quantized.scales, quantized.zeros
    rows, groups = scales.shape
    if out is None:
        out = torch.empty(rows * groups * GROUP, dtype=dtype, device=codes.device)
    if zeros.dtype == torch.float32 and supports(out) and in_main_memory(codes):
        _fill_compiled(codes, scales.view(torch.int16), zeros, out)
    else:
        _fill_by_formula(codes, scales, zeros, out)
    return out.view(rows, groups * GROUP)[:, : quantized.columns]


def _unpacking_cost(codes: Tensor, scales: Tensor, zeros: Tensor, target: Tensor, *, out: Any) -> OperatorCost:
    return OperatorCost(unpacked_bytes=traffic_bytes((codes, scales, zeros, target), out))


@compiled(
    "int4_dequantize_(Tensor codes, Tensor scale_bits, Tensor zeros, Tensor(a!) target) -> ()", cost=_unpacking_cost
)
def _fill_compiled(out: None, codes: Tensor, scale_bits: Tensor, zeros: Tensor, target: Tensor) -> None:
    """Fill bf16 or fp32 `target` (out · groups · 32,); all arguments are contiguous.

    Args:
        scale_bits: int16, the bit patterns of the bf16 scales.
        zeros: fp32.
    """
    run("int4_dequantize", target, codes, scale_bits, zeros, scale_bits.numel())


@composite("int4_dequantize_formula_(Tensor codes, Tensor scales, Tensor zeros, Tensor(a!) target) -> ()", chunked=True)
def _fill_by_formula(codes: Tensor, scales: Tensor, zeros: Tensor, target: Tensor) -> None:
    """Fill `target` (out · groups · 32,), of any float dtype."""
    rows, groups = scales.shape
    values = target.view(rows, groups, GROUP)
    table = pair_table(range(LEVELS), codes.device)
    chunk = _DEQUANTIZE_CHUNK_CUDA if on_cuda(codes) else _DEQUANTIZE_CHUNK * torch.get_num_threads()
    step = max(1, chunk // (groups * GROUP))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        levels = look_up(table, codes[part].reshape(-1)).view(-1, groups, GROUP).to(zeros.dtype)
        levels.sub_(zeros[part].unsqueeze(2))
        torch.mul(levels, scales[part].to(zeros.dtype).unsqueeze(2), out=values[part])


def shifted_zeros(zeros: Tensor, scales: Tensor, delta: Tensor) -> Tensor:
    """The zero points after delta_ig was added to every weight of group g of row i: zero - delta / scale.

    W + delta = scale · (code - zero) + delta = scale · (code - (zero - delta / scale)). Everything is (out, groups);
    computed in the wider of the dtypes and rounded once to that of `zeros`.
    """
    return (zeros - delta / scales.to(delta.dtype)).to(zeros.dtype)
