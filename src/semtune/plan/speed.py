"""Seconds of a step, from what it multiplies and moves and how fast that goes.

On this machine the rates are measured: products of five sizes (small ones are slower), plain and laid out for oneDNN;
passes over memory, in caches and out of them; unpacking 4-bit weights; one small operation. For a card that is not here
they are its maker's.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from semtune.errors import OutputError
from semtune.nn.linear import NF4Linear, as_linear_layer
from semtune.nn.low_rank import LowRankLinear
from semtune.plan.devices import Device
from semtune.plan.trace import Cost
from semtune.runtime.files import write_json
from semtune.runtime.processor import native_bf16

_SIDES = ((64, 576, 192), (384, 576, 576), (384, 576, 1536), (1024, 2048, 2048), (256, 4096, 8192))
"""Rows, in and out of the products that are timed."""
_MOVED_BYTES = 8 << 20
"""Of one pass over memory that is timed: about what one operation of a step moves."""
_COLD_BYTES = 192 << 20
"""Of one that no cache holds, as an optimizer's over its state."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a machine is."""

    plain: tuple[tuple[float, float], ...]
    """(FLOPs of a product, FLOPs per second), ascending."""
    packed: tuple[tuple[float, float], ...]
    loop_flops_per_second: float
    """Of an adapter's low-rank products."""
    bytes_per_second: float
    cold_bytes_per_second: float
    """Of passes over weights and their state, each number of which was last touched a step ago."""
    unpacked_bytes_per_second: float
    operation_seconds: float

    def seconds(self, effort: Cost, *, packed: bool) -> float:
        """Of `effort`."""
        table = self.packed if packed else self.plain
        products = sum(count * flops / _rate(table, flops) for flops, count in effort.products)
        return (
            products
            + effort.loop_flops / self.loop_flops_per_second
            + effort.moved_bytes / self.bytes_per_second
            + effort.cold_bytes / self.cold_bytes_per_second
            + effort.unpacked_bytes / self.unpacked_bytes_per_second
            + effort.operations * self.operation_seconds
        )


def rates_of(device: Device) -> Rates | None:
    """Those assumed for a device that is not this machine; None: to be measured."""
    if device.flops_per_second is None or device.bytes_per_second is None:
        return None
    one_rate = ((1.0, device.flops_per_second),)
    moved = device.bytes_per_second
    return Rates(one_rate, one_rate, device.flops_per_second, moved, moved, moved, 5e-6)


def measure(budget_seconds: float) -> Rates:
    """This machine's rates in about `budget_seconds`, in the dtype that it multiplies fastest."""
    dtype = torch.bfloat16 if native_bf16() else torch.float32
    share = budget_seconds / (2 * len(_SIDES) + 5)
    plain, packed = [], []
    for rows, size_in, size_out in _SIDES:
        x = torch.ones(rows, size_in, dtype=dtype)
        layer = torch.nn.Linear(size_in, size_out, bias=False, dtype=dtype).requires_grad_(False)
        flops = 2.0 * rows * size_in * size_out
        plain.append((flops, flops / _seconds(lambda layer=layer, x=x: layer(x), share)))  # type: ignore[misc]
        fast = as_linear_layer(layer).prepack(backward=True) or layer
        packed.append((flops, flops / _seconds(lambda layer=fast, x=x: layer(x), share)))  # type: ignore[misc]
    coded = NF4Linear.from_weight(torch.randn(1536, 2048).to(torch.bfloat16))
    buffer = torch.empty(1536 * 2048, dtype=torch.bfloat16)
    unpacked = _seconds(lambda: coded.dequantize(torch.bfloat16, buffer), share)
    small = torch.ones(64)
    return Rates(
        tuple(sorted(plain)),
        tuple(sorted(packed)),
        _loop_rate(dtype, share),
        _moving_rate(_MOVED_BYTES, share),
        _moving_rate(_COLD_BYTES, share),
        (coded.packed.codes.numel() + coded.packed.scales.numel() + 2 * buffer.numel()) / unpacked,
        _operation_seconds(small, share),
    )


def _moving_rate(moved_bytes: int, budget_seconds: float) -> float:
    """Bytes a second of an operation that reads and writes so many together."""
    size = moved_bytes // 2 // 2
    source, target = torch.ones(size, dtype=torch.bfloat16), torch.empty(size, dtype=torch.bfloat16)
    return moved_bytes / _seconds(lambda: torch.mul(source, 2.0, out=target), budget_seconds)


def _loop_rate(dtype: torch.dtype, budget_seconds: float) -> float:
    """FLOPs a second of what an adapter adds to a layer, forward and backward."""
    rows, size, rank = 384, 576, 16
    base = torch.nn.Linear(size, size, bias=False, dtype=dtype).requires_grad_(False)
    adapter = LowRankLinear(base, rank, 32.0)
    x = torch.ones(rows, size, dtype=dtype, requires_grad=True)
    grad = torch.ones(rows, size, dtype=dtype)
    with_it = _seconds(lambda: torch.autograd.backward(adapter(x), grad), budget_seconds / 2)
    without = _seconds(lambda: torch.autograd.backward(x @ base.weight.t(), grad), budget_seconds / 2)
    return 3 * 2.0 * rows * rank * 2 * size / max(with_it - without, 0.1 * with_it)


def _operation_seconds(small: torch.Tensor, budget_seconds: float) -> float:
    """What an operation costs whatever its size: dispatch, and its part of autograd."""
    grown = small.clone().requires_grad_()
    return _seconds(lambda: torch.autograd.backward(grown.add(1.0).mul(2.0).sum()), budget_seconds) / 6


def remembered(file: Path, longest_seconds: float) -> Rates | None:
    """The rates in `file`; None where there are none, they cannot be read, or they are older than `longest_seconds`."""
    try:
        if time.time() - file.stat().st_mtime > longest_seconds:
            return None
        held = json.loads(file.read_text(encoding="utf-8"))
        held["plain"] = tuple((float(a), float(b)) for a, b in held["plain"])
        held["packed"] = tuple((float(a), float(b)) for a, b in held["packed"])
        return Rates(**held)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(rates: Rates, file: Path) -> None:
    """Write them for later plans; where that is impossible they are measured again."""
    with contextlib.suppress(OutputError):
        write_json(file, asdict(rates), indent=None)


def _seconds(call: Callable[[], object], budget_seconds: float) -> float:
    """Of one call: the median of as many as fit into the budget, three at least, the first left out."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget_seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 2000):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _rate(table: tuple[tuple[float, float], ...], flops: float) -> float:
    """Between two measured sizes on straight lines over the logarithm of the size."""
    sizes = [size for size, _ in table]
    i = bisect.bisect(sizes, flops)
    if i == 0 or i == len(table):
        return table[min(i, len(table) - 1)][1]
    (a, rate_a), (b, rate_b) = table[i - 1], table[i]
    return rate_a + (rate_b - rate_a) * math.log(flops / a) / math.log(b / a)
