"""Fused linear cross-entropy: loss and gradient of an output embedding, one chunk of logits at a time.

The gradient of -log softmax(z)_t with respect to the logits z is softmax(z) - onehot(t), so the forward can compute it:
for each chunk of rows it overwrites the logits with their gradient and multiplies that by the weight (as in Liger
Kernel, Hsu et al. 2024, arXiv:2410.10989). At most one chunk of logits is in memory, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from semtune.nn import panels
from semtune.nn.cuda_path import on_cuda
from semtune.nn.kernels import in_main_memory, operators, supports

CHUNK_BYTES = 64 << 20
"""Most bytes of the logits of one chunk."""
_FP32_CHUNK_BYTES, _FP32_CHUNK_ROWS = 24 << 20, 128
"""A chunk of fp32 logits has the larger of the two, within `CHUNK_BYTES`: more memory is mapped anew for every chunk,
which took up to a third of the product's time; fewer rows read the weight too often."""
_BLOCK_ROWS = 1024
"""Rows of an fp32 weight that are multiplied at a time. The library is a quarter slower with all of a vocabulary."""
_UPCAST_BYTES = 4 << 20  # fp32 logits that are processed at a time, so that they stay in the CPU's cache


def fused_linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Sum over rows of -log softmax(W h + b)_target.

    Args:
        hidden: (rows, hidden_size).
        weight, bias: (vocab, hidden_size) and (vocab,) of the output embedding.
        targets: (rows,), token ids.

    Returns:
        A scalar in fp32 (fp64 for fp64 input), differentiable in hidden, weight and bias.
    """
    return _fused_linear_cross_entropy(hidden, weight, bias, targets)


class _FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        needs = ctx.needs_input_grad[:3]
        loss_dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=loss_dtype, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs[0] else None
        grad_weight = torch.empty_like(weight) if needs[1] else None
        grad_bias = torch.zeros_like(bias) if needs[2] and bias is not None else None
        rows = _rows_at_once(hidden.dtype, weight.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = _logits(hidden[part], weight, bias)  # (rows, vocab)
            total += _loss_and_gradient(logits, targets[part], loss_dtype, any(needs))
            if grad_hidden is not None:
                grad_hidden[part] = panels.grad_input(logits, weight)
            if grad_weight is not None:
                _add_grad_weight(grad_weight, logits, hidden[part], first=start == 0)
            if grad_bias is not None:
                grad_bias += logits.sum(dim=0)
        # Not as saved tensors: autograd would keep a reference, and then copies instead of accumulating in place.
        ctx.grads = (grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            raise RuntimeError("the gradient of this loss has been taken already")
        return (*(None if g is None else g.mul_(grad_loss.to(g.dtype)) for g in grads), None)


_fused_linear_cross_entropy: Callable[..., Tensor] = _FusedLinearCrossEntropy.apply


def _rows_at_once(dtype: torch.dtype, vocab: int) -> int:
    """Rows of a chunk."""
    row_bytes = vocab * dtype.itemsize
    most = CHUNK_BYTES // row_bytes
    if dtype == torch.float32:
        most = min(most, max(_FP32_CHUNK_ROWS, _FP32_CHUNK_BYTES // row_bytes))
    return max(1, most)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear without autograd, (rows, hidden_size) -> (rows, vocab) in hidden's dtype."""
    if not (hidden.dtype == weight.dtype == torch.float32 and in_main_memory(hidden)):
        return panels.linear(hidden, weight, bias)
    logits = hidden.new_empty(len(hidden), len(weight))
    for start in range(0, len(weight), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        torch.mm(hidden, weight[block].t(), out=logits[:, block])
    return logits if bias is None else logits.add_(bias)


def _add_grad_weight(grad_weight: Tensor, logits: Tensor, hidden: Tensor, *, first: bool) -> None:
    """grad_weight (vocab, hidden_size) += logitsᵀ hidden, or = where `first`."""
    if panels.converts(hidden, logits):
        part = panels.grad_weight(logits, hidden)
        grad_weight.copy_(part) if first else grad_weight.add_(part)
    else:
        torch.addmm(grad_weight, logits.t(), hidden, beta=int(not first), out=grad_weight)


def _loss_and_gradient(logits: Tensor, targets: Tensor, loss_dtype: torch.dtype, needs_grad: bool) -> Tensor:
    """The summed loss of a chunk. If `needs_grad`, `logits` (rows, vocab) become their gradient, rounded once."""
    if supports(logits):
        losses: Tensor = operators.cross_entropy_(logits, targets, needs_grad)
        return losses.sum()
    total = torch.zeros((), dtype=loss_dtype, device=logits.device)
    step = max(1, _UPCAST_BYTES // (4 * logits.shape[1])) if not on_cuda(logits) else len(logits)
    for start in range(0, len(logits), step):
        rows, target_columns = logits[start : start + step], targets[start : start + step].unsqueeze(1)
        logs = torch.log_softmax(rows, dim=-1, dtype=loss_dtype)
        total -= logs.gather(1, target_columns).sum()
        if needs_grad:
            gradient = logs.exp_()
            gradient.scatter_add_(1, target_columns, torch.full_like(target_columns, -1, dtype=loss_dtype))
            rows.copy_(gradient)
    return total
