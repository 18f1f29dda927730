"""NF4: 4-bit NormalFloat weights with double quantisation (QLoRA, Dettmers et al. 2023, sections 3 and appendix E).

Blocks are 64 weights in row-major order. A block is divided by its largest absolute value ("absmax") and each quotient
becomes the nearest of 16 levels; two 4-bit codes share a byte, the earlier weight in the high half. The absmaxes less
their mean are quantised again, in blocks of 256, with the 8-bit "dynamic" data type (Dettmers 2016, arXiv:1511.04561).
A weight thus costs 4 + 8/64 + 32/(64·256) ≈ 4.127 bits.

The result is bitwise equal to `bitsandbytes.functional.quantize_4bit(w, blocksize=64, quant_type="nf4",
compress_statistics=True)` of bitsandbytes 0.50 on a CPU with its native library. Two details differ from the
papers and are copied from bitsandbytes:

- the 8-bit codes do not go to the nearest of 256 levels but through a table of 65,536 cells over [-1, 1], so a quotient
  near the border of two levels, or within 1.5e-5 of zero, may get the neighbouring level. (Without its native library
  bitsandbytes compares with the midpoints, and one in eight of its scale codes differs for blocks of such values.)
- a last block that is not full is divided by its absmax; full blocks are multiplied by the absmax's reciprocal.

The mean of the absmaxes is torch's, whose last bit may depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semtune.nn import nf4_cuda
from semtune.nn.blockwise import dynamic_levels
from semtune.nn.cuda_path import on_cuda
from semtune.nn.four_bit import look_up, pack_codes, pair_table
from semtune.nn.kernels import in_main_memory, run, supports
from semtune.nn.operator_registry import OperatorCost, compiled, composite, traffic_bytes

BLOCK = 64
"""Weights that share one scale."""
NESTED_BLOCK = 256
"""Scales that share one fp32 scale of scales."""

_QUANTIZE_CHUNK = 1 << 20  # weights; a multiple of BLOCK. Quantising needs about 12 bytes for each of these at a time.
_DEQUANTIZE_CHUNK = (
    1 << 17
)  # weights per thread and step: codes, indices and values of a step then stay in the L2 cache
_DEQUANTIZE_CHUNK_CUDA = 1 << 22  # weights per step: 40 MB of indices and levels, and few kernels
_SMALLEST_ABSMAX = 1e-38  # keeps the reciprocal of a block of zeros finite
_TABLE_CELLS = 65536


@dataclass(frozen=True, slots=True)
class NF4Tensor:
    """A quantised (out, in) matrix.

    Where `in` is a multiple of 64 the codes are (out, in / 2) and the scales (out, in / 64), so both can be sharded by
    rows; elsewhere they are flat, because blocks then cross the ends of rows. `nested_absmax` and `offset`
    (1 / 16384 of the weights' count) follow the flat order of the scales and are not sharded.
    """

    codes: Tensor
    """uint8, two weights a byte, the earlier in the high half."""
    scales: Tensor
    """uint8, one per 64 weights: codes of the 8-bit dynamic type."""
    nested_absmax: Tensor
    """fp32 (ceil(scales / 256),)."""
    offset: Tensor
    """fp32 (): the mean of the absmaxes."""
    shape: tuple[int, int]


def _nf4_levels() -> tuple[float, ...]:
    """The 16 levels, ascending, as exact fp32 values (QLoRA appendix E).

    They are quantiles of the standard normal: 8 probabilities evenly spaced from `1 - delta` down towards 1/2 give the
    positive levels, 7 the negative ones, and zero is a level of its own; all are divided by the largest. delta is the
    mean of 1/32 and 1/30, so that neither end is infinite. Steps in fp32 where the reference has them, for equal bits.
    """
    highest = 0.9677083
    quantile = NormalDist().inv_cdf
    positive = [quantile(p) for p in torch.linspace(highest, 0.5, 9, dtype=torch.float32, device="cpu")[:-1].tolist()]
    negative = [-quantile(p) for p in torch.linspace(highest, 0.5, 8, dtype=torch.float32, device="cpu")[:-1].tolist()]
    levels = torch.tensor(sorted([*negative, 0.0, *positive]), dtype=torch.float32, device="cpu")
    return tuple((levels / levels.max()).tolist())


# Plain numbers: each call creates its own tensors from them, which are fake while tracing.
NF4_LEVELS = _nf4_levels()
DYNAMIC_LEVELS = dynamic_levels()
_NF4_TABLE = (ctypes.c_float * len(NF4_LEVELS))(*NF4_LEVELS)
_DYNAMIC_TABLE = (ctypes.c_float * len(DYNAMIC_LEVELS))(*DYNAMIC_LEVELS)
"""Both tables for the compiled loop."""


def quantize_nf4(weight: Tensor) -> NF4Tensor:
    """Quantise `weight` (out, in), of any float dtype, chunk by chunk, so that no fp32 copy of it is needed."""
    rows, columns = weight.shape
    codes, scales, nested_absmax, offset = _quantize(weight.detach())
    if columns % BLOCK == 0:
        codes, scales = codes.view(rows, columns // 2), scales.view(rows, columns // BLOCK)
    return NF4Tensor(codes, scales, nested_absmax, offset, (rows, columns))


def _quantized_outputs(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    blocks = -(-weight.numel() // BLOCK)
    nested = -(-blocks // NESTED_BLOCK)
    return (
        weight.new_empty((weight.numel() + 1) // 2, dtype=torch.uint8),
        weight.new_empty(nested * NESTED_BLOCK, dtype=torch.uint8)[:blocks],  # a view, as in `_quantize`
        weight.new_empty(nested, dtype=torch.float32),
        weight.new_empty((), dtype=torch.float32),
    )


@composite("nf4_quantize(Tensor weight) -> (Tensor, Tensor, Tensor, Tensor)", outputs=_quantized_outputs, chunked=True)
def _quantize(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes and scales, both flat, the scales' absmaxes, and the mean of the blocks' absmaxes."""
    flat = weight.reshape(-1)
    levels = torch.tensor(NF4_LEVELS, dtype=torch.float32, device=weight.device)
    borders = (levels[:-1] + levels[1:]) / 2
    count = flat.numel()
    codes = torch.empty((count + 1) // 2, dtype=torch.uint8, device=weight.device)
    absmax = torch.empty(-(-count // BLOCK), dtype=torch.float32, device=weight.device)
    full = count - count % BLOCK
    for start in range(0, full, _QUANTIZE_CHUNK):
        stop = min(start + _QUANTIZE_CHUNK, full)
        blocks = flat[start:stop].float().view(-1, BLOCK)  # (blocks, 64)
        largest = blocks.abs().amax(dim=1)
        absmax[start // BLOCK : stop // BLOCK] = largest
        quotients = blocks * (1.0 / largest.clamp(min=_SMALLEST_ABSMAX)).unsqueeze(1)
        codes[start // 2 : stop // 2] = pack_codes(torch.bucketize(quotients.view(-1), borders, out_int32=True))
    if full < count:
        partial = flat[full:].float()
        absmax[-1] = partial.abs().amax().clamp(min=_SMALLEST_ABSMAX)
        quotients = F.pad(partial / absmax[-1], (0, count % 2))
        codes[full // 2 :] = pack_codes(torch.bucketize(quotients, borders, out_int32=True))
    offset = absmax.mean()
    return codes, *_quantize_scales(absmax - offset), offset


def dequantize_nf4(quantized: NF4Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """The (out, in) matrix in `dtype`: level × scale in fp32, rounded once; in `out` (out · in,) if given.

    For bf16 and fp32 on a CPU a compiled operator does it, on a GPU bitsandbytes (`nf4_cuda`). The formula looks up
    each byte in a table of 256 pairs of levels and copies the pair as one 8-byte integer: on two cores 0.30 ms for
    (1536, 576) and 7.4 ms for (8192, 2048) to fp32; indexing a (256, 2) table of floats took 1.5 and 28 ms.
    """
    rows, columns = quantized.shape
    count = rows * columns
    full = count - count % BLOCK
    codes = quantized.codes.reshape(-1)
    if out is None:
        out = torch.empty(count, dtype=dtype, device=codes.device)
    parts = (codes, quantized.scales, quantized.nested_absmax, quantized.offset)
    if full == count and nf4_cuda.usable(codes, dtype):
        nf4_cuda.fill(*parts, out, block=BLOCK, nested_block=NESTED_BLOCK)
    elif full == count and supports(out) and in_main_memory(codes):
        _fill_compiled(*parts, out)
    else:
        _fill_by_formula(*parts, out)
    return out.view(rows, columns)


def _unpacking_cost(
    codes: Tensor, scales: Tensor, nested_absmax: Tensor, offset: Tensor, target: Tensor, *, out: Any
) -> OperatorCost:
    return OperatorCost(unpacked_bytes=traffic_bytes((codes, scales, nested_absmax, target), out))


_DEQUANTIZE_ARGUMENTS = "(Tensor codes, Tensor scales, Tensor nested_absmax, Tensor offset, Tensor(a!) target) -> ()"


@compiled(f"nf4_dequantize_{_DEQUANTIZE_ARGUMENTS}", cost=_unpacking_cost)
def _fill_compiled(
    out: None, codes: Tensor, scales: Tensor, nested_absmax: Tensor, offset: Tensor, target: Tensor
) -> None:
    """Fill bf16 or fp32 `target`, whose number of elements is a multiple of 64; all arguments but `scales` are flat."""
    parts, tables = (codes, scales, nested_absmax, float(offset)), (_NF4_TABLE, _DYNAMIC_TABLE)
    run("nf4_dequantize", target, *parts, *tables, target.numel() // BLOCK)


@composite(f"nf4_dequantize_formula_{_DEQUANTIZE_ARGUMENTS}", chunked=True)
def _fill_by_formula(codes: Tensor, scales: Tensor, nested_absmax: Tensor, offset: Tensor, out: Tensor) -> None:
    """Fill `out`, of any float dtype; all arguments but `scales` are flat."""
    count = out.numel()
    full = count - count % BLOCK
    absmax = _dequantize_scales(scales, nested_absmax, offset)
    table = pair_table(NF4_LEVELS, codes.device)
    chunk = _DEQUANTIZE_CHUNK_CUDA if on_cuda(codes) else _DEQUANTIZE_CHUNK * torch.get_num_threads()
    for start in range(0, full, chunk):
        stop = min(start + chunk, full)
        levels = look_up(table, codes[start // 2 : stop // 2])  # (stop - start,)
        steps = absmax[start // BLOCK : stop // BLOCK].unsqueeze(1)
        torch.mul(levels.view(-1, BLOCK), steps, out=out[start:stop].view(-1, BLOCK))
    if full < count:
        levels = look_up(table, codes[full // 2 :])[: count - full]
        torch.mul(levels, absmax[-1], out=out[full:])


def _quantize_scales(values: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit codes (n,) and absmaxes (ceil(n / 256),) of fp32 `values` (n,)."""
    count = values.numel()
    blocks = F.pad(values, (0, -count % NESTED_BLOCK)).view(-1, NESTED_BLOCK)
    absmax = blocks.abs().amax(dim=1)
    # 0 · (1 / 0) in a block of zeros is NaN; its codes are 0, which -1 is rounded to
    quotients = (blocks * (1.0 / absmax).unsqueeze(1)).clamp(-1, 1).nan_to_num(nan=-1.0)
    cells = ((quotients + 1) * ((_TABLE_CELLS - 1) / 2) + 0.5).long()
    levels = torch.tensor(DYNAMIC_LEVELS, dtype=torch.float32, device=values.device)
    middles = torch.arange(_TABLE_CELLS, dtype=torch.float32, device=values.device) / (_TABLE_CELLS - 1) * 2 - 1
    table = torch.bucketize(middles, (levels[:-1] + levels[1:]) / 2, out_int32=True).to(torch.uint8)
    return torch.take(table, cells).view(-1)[:count], absmax


def _dequantize_scales(scales: Tensor, nested_absmax: Tensor, offset: Tensor) -> Tensor:
    """The absmax of every block, fp32 (blocks,)."""
    codes = scales.reshape(-1)
    levels = torch.tensor(DYNAMIC_LEVELS, dtype=torch.float32, device=codes.device)
    nested = nested_absmax.repeat_interleave(NESTED_BLOCK)[: codes.numel()]
    return torch.take(levels, codes.long()) * nested + offset
