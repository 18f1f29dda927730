"""The CUDA code path on a GPU: NF4 to the bit, attention, losses and elementwise functions against the CPU in fp64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from semtune.nn.attention import packed_attention
from semtune.nn.elementwise import add_rms_norm, rms_norm, swiglu
from semtune.nn.linear import NF4Linear
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy
from semtune.nn.low_rank import LowRankLinear
from semtune.nn.nf4 import dequantize_nf4, quantize_nf4
from semtune.nn.packed_batch import PackedBatch

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_same_on_both(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Value and gradients of `function` in fp64, on the CPU and on the GPU."""
    results = []
    for device in ("cpu", "cuda"):
        leaves = [x.to(device, copy=True).requires_grad_() for x in inputs]
        y = function(*leaves)
        (y * normal(*y.shape, seed=99).to(device)).sum().backward()
        results.append([y.detach().cpu(), *(x.grad.cpu() for x in leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(640, 576), (97, 63), (2049, 1024), (1, 1)], ids=str)
def test_nf4_equals_the_cpu_to_the_bit(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """All but the mean of the absmaxes, whose last bit depends on the order of the sum."""
    weight = normal(*shape, dtype=dtype)
    here, there = quantize_nf4(weight), quantize_nf4(weight.to(CUDA))
    assert torch.equal(here.codes, there.codes.cpu())
    torch.testing.assert_close(here.offset, there.offset.cpu(), rtol=1e-6, atol=0)
    if torch.equal(here.offset, there.offset.cpu()):
        assert torch.equal(here.scales, there.scales.cpu())
    for target in (torch.float32, torch.bfloat16):
        values = dequantize_nf4(there, target)
        torch.testing.assert_close(
            values.cpu().float(), dequantize_nf4(here, target).float(), rtol=2e-2, atol=2e-4 * float(weight.abs().max())
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dequantised_weights_equal_the_cpus_to_the_bit(dtype: torch.dtype) -> None:
    here = quantize_nf4(normal(640, 576, dtype=torch.bfloat16))
    tensors = {
        name: getattr(here, name).to(CUDA) for name in ("codes", "scales", "nested_absmax", "offset")
    }  # the same codes on both
    there = dataclasses.replace(here, **tensors)
    assert torch.equal(dequantize_nf4(here, dtype), dequantize_nf4(there, dtype).cpu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nf4_equals_bitsandbytes_on_the_gpu(dtype: torch.dtype) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = normal(512, 768, dtype=dtype).to(CUDA)
    codes, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    ours = quantize_nf4(weight)
    same = (ours.codes.reshape(-1) == codes.reshape(-1)).float().mean()
    assert float(same) > 0.9999  # its CUDA kernel compares with rounded middles of two levels
    values = dequantize_nf4(ours, dtype).float()
    theirs = functional.dequantize_4bit(codes, state).float()
    assert float((values - theirs).norm() / theirs.norm()) < 2e-3


@pytest.mark.parametrize("bias", [False, True])
def test_loss_over_the_vocabulary(bias: bool) -> None:
    targets = torch.arange(40) * 3 % 97
    inputs = [normal(40, 16), normal(97, 16, seed=1), *([normal(97, seed=2)] if bias else [])]

    def loss(hidden: Tensor, weight: Tensor, bias_vector: Tensor | None = None) -> Tensor:
        return fused_linear_cross_entropy(hidden, weight, bias_vector, targets.to(hidden.device))

    assert_same_on_both(loss, inputs)


def test_norms_and_swiglu() -> None:
    x, delta, w = normal(7, 32), normal(7, 32, seed=1), normal(32, seed=2)
    assert_same_on_both(lambda a, b: rms_norm(a, b, 1e-6), [x, w])
    assert_same_on_both(lambda a, b, c: torch.cat(add_rms_norm(a, b, c, 1e-6)), [x, delta, w])
    assert_same_on_both(swiglu, [x, delta])


@pytest.mark.parametrize("lengths", [(5, 9, 1), (300, 20), (8, 8)], ids=str)
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("query_indices", [None, (2, 5, 8)], ids=str)
def test_packed_attention(lengths: tuple[int, ...], window: int | None, query_indices: tuple[int, ...] | None) -> None:
    tokens = sum(lengths)
    asked = tokens if query_indices is None else len(query_indices)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch = PackedBatch(lengths)
        return packed_attention(q, k, v, batch, layer=0, scale=0.3, window=window, query_indices=query_indices)

    assert_same_on_both(attend, [normal(asked, 6, 16), normal(tokens, 2, 16, seed=1), normal(tokens, 2, 16, seed=2)])


@pytest.mark.parametrize("magnitudes", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_low_rank_layers(magnitudes: bool, quantized: bool) -> None:
    weight = normal(48, 64)
    codes = quantize_nf4(weight)

    def output(x: Tensor) -> Tensor:
        base: nn.Module = nn.Linear(64, 48, bias=False, dtype=torch.float64)
        base.weight = nn.Parameter(dequantize_nf4(codes, torch.float64).to(x.device), requires_grad=False)
        if quantized:
            base = NF4Linear.from_weight(weight, None, torch.float64).to(x.device)
        torch.manual_seed(3)
        layer = LowRankLinear(base, 4, 8.0, 0.0, magnitudes)
        with torch.no_grad():
            layer.lora_A.copy_(normal(4, 64, seed=4))
            layer.lora_B.copy_(normal(48, 4, seed=5))
        y: Tensor = layer.to(x.device)(x)
        return y

    assert_same_on_both(output, [normal(11, 64, seed=6)])


def test_dropout_drops_the_share_it_should_and_differs_by_step() -> None:
    layer = LowRankLinear(nn.Linear(64, 64, bias=False, device=CUDA), 4, 8.0, 0.25, False).train()
    nn.init.normal_(layer.lora_B)
    x = torch.ones(512, 64, device=CUDA)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
