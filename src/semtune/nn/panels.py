"""Matrix products with a bf16 operand on a CPU that does not multiply bf16: in fp32, one panel of the weight at a time.

torch emulates bf16 products on such a processor ten to a hundred times slower than fp32 ones. These operators convert a
panel (some rows of the weight) to fp32 in the cache, and multiply there; results are rounded once, as bf16 hardware
does, which also sums in fp32. Two uses:

- bf16 runs: x and the weight are bf16, and so are the results (`converts`);
- a frozen weight that is stored in bf16 under fp32 activations: the product of the same weight in fp32, in half the
  memory (`nn.linear.Bf16Linear`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from semtune.nn import products
from semtune.nn.cuda_path import on_cuda
from semtune.nn.kernels import in_main_memory
from semtune.nn.operator_registry import composite
from semtune.runtime.processor import native_bf16

HALF_DTYPES = (torch.bfloat16, torch.float16)
"""Dtypes of half precision, whose every number is an fp32 number."""
PANEL_BYTES = 4 << 20
"""Bytes of a panel in fp32, unless `MIN_PANEL_ROWS` need more. A panel stays in the last-level cache between conversion
and product; smaller ones, which fit the L2 cache, were slower: their products are too small for the library."""
MIN_PANEL_ROWS = 256


def converts(weight: Tensor, x: Tensor) -> bool:
    """Whether products of `x` with `weight` go through fp32 panels.

    On a CPU, an fp32 x with a weight in half precision does, and bf16 with bf16 where there is no bf16 hardware.
    """
    return (
        x.device.type == "cpu"
        and not on_cuda(x)
        and (
            (x.dtype == torch.float32 and weight.dtype in HALF_DTYPES)
            or (x.dtype == weight.dtype == torch.bfloat16 and not native_bf16("cpu"))
        )
    )


def multiplies(weight: Tensor, x: Tensor) -> bool:
    """Whether products of `x` with `weight` are this module's rather than torch's, for as many rows as pay."""
    ours = x.dtype == weight.dtype and products.faster_than_library(x.dtype)
    return converts(weight, x) or (ours and in_main_memory(x) and in_main_memory(weight))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear without autograd, in x's dtype: (..., in), (out, in) and (out,) -> (..., out)."""
    if converts(weight, x):
        y: Tensor = _linear(x, weight, bias)
        return y
    ours = products.linear(x, weight, bias)
    return F.linear(x, weight.to(x.dtype), bias) if ours is None else ours


def grad_input(grad: Tensor, weight: Tensor) -> Tensor:
    """grad W in grad's dtype: (rows, out) and (out, in) -> (rows, in)."""
    if converts(weight, grad):
        grad_x: Tensor = _grad_input(grad, weight)
        return grad_x
    ours = products.grad_input(grad, weight)
    return grad @ weight.to(grad.dtype) if ours is None else ours


def grad_weight(grad: Tensor, x: Tensor) -> Tensor:
    """gradᵀ x, the gradient of a weight, in x's dtype: (rows, out) and (rows, in) -> (out, in)."""
    if converts(x, grad):
        product: Tensor = _grad_weight(grad, x)
        return product
    ours = products.grad_weight(grad, x)
    return grad.t() @ x if ours is None else ours


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """torch.bmm in a's dtype; differentiable."""
    if converts(b, a):
        return torch.bmm(a.float(), b.float()).to(a.dtype)
    return torch.bmm(a, b)


def _panel_rows(columns: int) -> int:
    return max(MIN_PANEL_ROWS, PANEL_BYTES // (4 * max(1, columns)))


def _panels(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows of `weight` (out, in), and these rows in fp32, in memory that the next panel overwrites."""
    rows, columns = weight.shape
    step = min(rows, _panel_rows(columns))
    buffer = _buffer(weight, step * columns).view(step, columns)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        yield part, buffer[: part.stop - start].copy_(weight[part])


def _buffer(like: Tensor, count: int) -> Tensor:
    """fp32 (count,), in memory that all products share; not thread-safe.

    Taken from malloc's heap for each product, it left gaps between activations: 240 MB at the peak of a step of LoRA on
    SmolLM2-135M.
    """
    global _shared
    if not in_main_memory(like) or isinstance(like, FakeTensor):
        return torch.empty(count, dtype=torch.float32, device=like.device)
    if _shared is None or _shared.numel() < count:
        _shared = torch.empty(count, dtype=torch.float32)
    return _shared[:count]


_shared: Tensor | None = None


@composite(
    "linear_in_panels(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    outputs=lambda x, weight, bias: x.new_empty(*x.shape[:-1], weight.shape[0]),
    chunked=True,
)
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + bias, (..., in) -> (..., out), in x's dtype. The result is no view: DoRA scales it in place."""
    x32, y = x.reshape(-1, x.shape[-1]).float(), x.new_empty(*x.shape[:-1], weight.shape[0])
    rows = y.view(-1, weight.shape[0])
    for part, panel in _panels(weight):
        target = rows[:, part]
        product = target if x.dtype == torch.float32 else x32.new_empty(target.shape)
        if not products.multiply_into_(product, x32, panel, right_transposed=True):
            torch.mm(x32, panel.t(), out=product)
        if bias is not None:
            product += bias[part]
        if product is not target:
            target.copy_(product)
    return y


@composite(
    "grad_input_in_panels(Tensor grad, Tensor weight) -> Tensor",
    outputs=lambda grad, weight: grad.new_empty(grad.shape[0], weight.shape[1]),
    chunked=True,
)
def _grad_input(grad: Tensor, weight: Tensor) -> Tensor:
    """grad W, (rows, out) -> (rows, in), summed in fp32, in grad's dtype."""
    total = grad.new_zeros(grad.shape[0], weight.shape[1], dtype=torch.float32)
    for part, panel in _panels(weight):
        grad32 = grad[:, part].float()
        if not products.multiply_into_(total, grad32, panel, add=True):
            total.addmm_(grad32, panel)
    return total.to(grad.dtype)


@composite(
    "grad_weight_in_panels(Tensor grad, Tensor x) -> Tensor",
    outputs=lambda grad, x: x.new_empty(grad.shape[1], x.shape[1]),
    chunked=True,
)
def _grad_weight(grad: Tensor, x: Tensor) -> Tensor:
    """gradᵀ x, (rows, out) and (rows, in) -> (out, in), in x's dtype."""
    x32, product = x.float(), x.new_empty(grad.shape[1], x.shape[1])
    step = _panel_rows(x.shape[1])
    for start in range(0, grad.shape[1], step):
        part = slice(start, start + step)
        grad32 = grad[:, part].float().t()
        rows = x32.new_empty(len(grad32), x.shape[1])
        product[part] = rows if products.multiply_into_(rows, grad32, x32) else grad32 @ x32
    return product
