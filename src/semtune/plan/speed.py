"""Seconds of a step, from its cost (`trace.Cost`) and the rates of a machine.

Rates of this machine are measured: matrix products of five sizes (small ones reach fewer FLOP/s), plain and prepacked;
an elementwise operator between them; a pass over main memory; dequantising 4-bit weights; the overhead of one
operation. Operands of the first two lie in main memory, as a step's do. Rates of another card come from its data
sheet.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from semtune.contracts import LinearLayer
from semtune.errors import OutputError
from semtune.nn.elementwise import swiglu
from semtune.nn.linear import NF4Linear, as_linear_layer, frozen_linear
from semtune.nn.low_rank import LowRankLinear
from semtune.plan.cost import Cost
from semtune.plan.devices import Device
from semtune.runtime.files import read_json, write_json
from semtune.runtime.processor import native_bf16

_SIDES = ((64, 576, 192), (384, 576, 576), (384, 576, 1536), (1024, 2048, 2048), (256, 4096, 8192))
"""(rows, in features, out features) of the measured products."""
_ROTATED_BYTES = 64 << 20
"""Bytes of the operands that a measured operation takes in turn, more than the caches hold."""
_MOST_TURNS = 24
_COLD_BYTES = 192 << 20
"""Bytes that a pass reads and writes which exceeds all caches at once, like an optimizer's over its state."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The speed of a machine. Field names are keys of the calibration files."""

    plain: tuple[tuple[float, float], ...]
    """(FLOPs of a product, FLOPs per second), ascending, for plain weights."""
    packed: tuple[tuple[float, float], ...]
    """The same for prepacked weights."""
    loop_flops_per_second: float
    """FLOPs per second of an adapter's low-rank products."""
    elementwise_bytes_per_second: float
    """Bytes read and written per second by an elementwise operator of a step."""
    cold_bytes_per_second: float
    """Bytes read and written per second in main memory, as in an optimizer's pass over weights and state."""
    unpacked_bytes_per_second: float
    """Bytes read and written per second while dequantising 4-bit weights."""
    operation_seconds: float
    """Overhead of one operation, whatever its size."""

    def seconds(self, cost: Cost, *, prepacked: bool) -> float:
        """The seconds that `cost` takes, with frozen weights prepacked or plain."""
        table = self.packed if prepacked else self.plain
        products = sum(count * flops / _rate(table, flops) for flops, count in cost.products)
        return (
            products
            + cost.loop_flops / self.loop_flops_per_second
            + cost.moved_bytes / self.elementwise_bytes_per_second
            + cost.cold_bytes / self.cold_bytes_per_second
            + cost.unpacked_bytes / self.unpacked_bytes_per_second
            + cost.operations * self.operation_seconds
        )


def rates_of(device: Device) -> Rates | None:
    """The assumed rates of a device that is not this machine; None where they have to be measured."""
    if device.flops_per_second is None or device.bytes_per_second is None:
        return None
    one_rate = ((1.0, device.flops_per_second),)
    moved = device.bytes_per_second
    return Rates(one_rate, one_rate, device.flops_per_second, moved, moved, moved, 5e-6)


def measure(budget_seconds: float) -> Rates:
    """Measure this machine's rates in about `budget_seconds`: in bf16 where the hardware multiplies it, else fp32."""
    dtype = torch.bfloat16 if native_bf16() else torch.float32
    share = budget_seconds / (2 * len(_SIDES) + 5)
    plain = [_product_rate(*sizes, dtype, share, prepacked=False) for sizes in _SIDES]
    prepacks = _frozen_layer(64, 64, dtype, prepacked=False).prepack(backward=True) is not None
    packed = [_product_rate(*sizes, dtype, share, prepacked=True) for sizes in _SIDES] if prepacks else plain
    coded = NF4Linear.from_weight(torch.randn(1536, 2048).to(torch.bfloat16))
    buffer = torch.empty(1536 * 2048, dtype=dtype)
    unpacked = _seconds(lambda: coded.dequantize(dtype, buffer), share)
    small = torch.ones(64)
    return Rates(
        tuple(sorted(plain)),
        tuple(sorted(packed)),
        _loop_rate(dtype, share),
        _elementwise_rate(dtype, share),
        _cold_rate(share),
        (coded.quantized.codes.numel() + coded.quantized.scales.numel() + buffer.nbytes) / unpacked,
        _operation_seconds(small, share),
    )


def _product_rate(
    rows: int, size_in: int, size_out: int, dtype: torch.dtype, budget_seconds: float, *, prepacked: bool
) -> tuple[float, float]:
    """FLOPs of a product with a frozen weight, and FLOPs per second over layers in turn.

    One product again and again runs up to 15% faster.
    """
    turns = _turns((size_in * size_out + rows * (size_in + size_out)) * dtype.itemsize)
    layers = [_frozen_layer(size_in, size_out, dtype, prepacked=prepacked) for _ in range(turns)]
    inputs = [torch.ones(rows, size_in, dtype=dtype) for _ in layers]
    results = [layer.matmul(x) for layer, x in zip(layers, inputs, strict=True)]
    places = itertools.cycle(range(turns))

    def multiply() -> None:
        i = next(places)
        results[i] = layers[i].matmul(inputs[i])

    flops = 2.0 * rows * size_in * size_out
    return flops, flops / _seconds(multiply, budget_seconds)


def _frozen_layer(size_in: int, size_out: int, dtype: torch.dtype, *, prepacked: bool) -> LinearLayer:
    linear = torch.nn.Linear(size_in, size_out, bias=False, dtype=dtype, device="meta").to_empty(device="cpu")
    torch.nn.init.ones_(linear.weight)
    plain = as_linear_layer(linear.requires_grad_(False))
    packed = plain.prepack(backward=True) if prepacked else None
    return plain if packed is None else as_linear_layer(packed)


def _elementwise_rate(dtype: torch.dtype, budget_seconds: float) -> float:
    """Bytes per second of SwiGLU, forward and backward, which read five tensors and write three."""
    shape = (384, 1536)
    tensor_bytes = math.prod(shape) * dtype.itemsize
    turns = _turns(2 * tensor_bytes)
    inputs = [tuple(torch.ones(shape, dtype=dtype, requires_grad=True) for _ in range(2)) for _ in range(turns)]
    grad = torch.ones(shape, dtype=dtype)
    places = itertools.cycle(inputs)

    def run() -> None:
        gate, up = next(places)
        torch.autograd.grad(swiglu(gate, up), (gate, up), grad)

    return 8 * tensor_bytes / _seconds(run, budget_seconds)


def _turns(operand_bytes: int) -> int:
    """How many operands of this size an operation takes in turn."""
    return max(1, min(_MOST_TURNS, _ROTATED_BYTES // operand_bytes))


def _cold_rate(budget_seconds: float) -> float:
    """Bytes per second of one pass over main memory."""
    size = _COLD_BYTES // 2 // 2
    source, target = torch.ones(size, dtype=torch.bfloat16), torch.empty(size, dtype=torch.bfloat16)
    return _COLD_BYTES / _seconds(lambda: torch.mul(source, 2.0, out=target), budget_seconds)


def _loop_rate(dtype: torch.dtype, budget_seconds: float) -> float:
    """FLOPs per second of what an adapter adds to a linear layer, forward and backward."""
    rows, size, rank = 384, 576, 16
    base = torch.nn.Linear(size, size, bias=False, dtype=dtype).requires_grad_(False)
    adapter = LowRankLinear(base, rank, 32.0)
    x = torch.ones(rows, size, dtype=dtype, requires_grad=True)
    grad = torch.ones(rows, size, dtype=dtype)
    with_it = _seconds(lambda: torch.autograd.backward(adapter(x), grad), budget_seconds / 2)
    plain = as_linear_layer(base)
    without = _seconds(lambda: torch.autograd.backward(frozen_linear(x, None, plain), grad), budget_seconds / 2)
    return 3 * 2.0 * rows * rank * 2 * size / max(with_it - without, 0.1 * with_it)


def _operation_seconds(small: torch.Tensor, budget_seconds: float) -> float:
    """Seconds of an operation on a tiny tensor: dispatch and its part of autograd."""
    grown = small.clone().requires_grad_()
    return _seconds(lambda: torch.autograd.backward(grown.add(1.0).mul(2.0).sum()), budget_seconds) / 6


def read_rates(file: Path, max_age_seconds: float) -> Rates | None:
    """The rates in `file`; None where it is missing, unreadable, or older than `max_age_seconds`."""
    try:
        if time.time() - file.stat().st_mtime > max_age_seconds:
            return None
        record = read_json(file)
        record["plain"] = tuple((float(a), float(b)) for a, b in record["plain"])
        record["packed"] = tuple((float(a), float(b)) for a, b in record["packed"])
        return Rates(**record)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_rates(rates: Rates, file: Path) -> None:
    """Write rates for later plans. A failure is ignored, as the next plan then measures them again."""
    with contextlib.suppress(OutputError):
        write_json(file, asdict(rates), indent=None)


def _seconds(call: Callable[[], object], budget_seconds: float) -> float:
    """Median seconds of a call, over as many calls as fit into the budget (1 to 2000) after one for warming up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget_seconds
    while not times or (time.perf_counter() < end and len(times) < 2000):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _rate(table: tuple[tuple[float, float], ...], flops: float) -> float:
    """FLOPs per second of a product with `flops` FLOPs, interpolated linearly over log(FLOPs)."""
    sizes = [size for size, _ in table]
    i = bisect.bisect(sizes, flops)
    if i == 0 or i == len(table):
        return table[min(i, len(table) - 1)][1]
    (a, rate_a), (b, rate_b) = table[i - 1], table[i]
    return rate_a + (rate_b - rate_a) * math.log(flops / a) / math.log(b / a)
