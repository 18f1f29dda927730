"""NF4 against bitsandbytes' CPU implementation, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.nn.linear import NF4Linear
from semtune.nn.nf4 import DYNAMIC_LEVELS, NF4_LEVELS, NF4Tensor, dequantize_nf4, quantize_nf4

bnb = pytest.importorskip("bitsandbytes.functional")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def reference(weight: Tensor):
    return bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)


def random_weight(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(shape[0] * 1000 + shape[1])
    row_spread = torch.rand(shape[0], 1, generator=generator)  # else all absmaxes are alike
    return (torch.randn(shape, generator=generator) * 0.05 * row_spread).to(dtype)


def assert_same(packed: NF4Tensor, codes: Tensor, state) -> None:
    assert torch.equal(packed.codes.reshape(-1), codes.reshape(-1))
    assert torch.equal(packed.scales.reshape(-1), state.absmax)
    assert torch.equal(packed.nested_absmax, state.state2.absmax)
    assert torch.equal(packed.offset, state.offset)


def test_levels_are_those_of_bitsandbytes() -> None:
    assert torch.equal(torch.tensor(NF4_LEVELS), bnb.get_4bit_type("nf4", device="cpu"))
    assert torch.equal(torch.tensor(DYNAMIC_LEVELS), bnb.create_dynamic_map())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(640, 576), (2049, 1024), (3, 128), (1, 64), (97, 63), (7, 65), (5, 30), (1, 1)], ids=str
)
def test_codes_and_values_equal_bitsandbytes(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = random_weight(shape, dtype)
    codes, state = reference(weight)
    packed = quantize_nf4(weight)
    assert_same(packed, codes, state)
    state.dtype = torch.float32  # what bitsandbytes then unpacks to
    values = bnb.dequantize_4bit(codes, state)
    assert torch.equal(dequantize_nf4(packed, torch.float32), values)
    for target in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(dequantize_nf4(packed, target), values.to(target))  # one rounding, from the fp32 product


@pytest.mark.parametrize(
    "case",
    ["zeros", "zero blocks", "one value", "constant", "ones", "tiny", "subnormal", "large", "outlier", "borders"],
)
def test_edge_cases_equal_bitsandbytes(case: str) -> None:
    weight = random_weight((48, 640), torch.float32)
    levels = torch.tensor(NF4_LEVELS)
    if case == "zeros":
        weight.zero_()
    elif case == "zero blocks":
        weight[::3, :128] = 0
    elif case == "one value":
        weight.zero_()[5, 7] = -0.3
    elif case == "constant":
        weight.fill_(-0.02)
    elif case == "ones":
        weight = weight.sign()
    elif case == "tiny":
        weight *= 1e-30
    elif case == "subnormal":
        weight *= 1e-38
    elif case == "large":
        weight *= 1e30
    elif case == "outlier":
        weight[3, 3] = 1e4
    elif case == "borders":  # quotients exactly half way between two levels
        weight[:, :15] = (levels[:-1] + levels[1:]) / 2
        weight[:, 15::64] = 1.0
    codes, state = reference(weight)
    packed = quantize_nf4(weight)
    assert_same(packed, codes, state)
    state.dtype = torch.float32
    assert torch.equal(dequantize_nf4(packed, torch.float32), bnb.dequantize_4bit(codes, state))


def test_scales_on_the_borders_of_the_table() -> None:
    """The 8-bit codes go through a table; absmaxes are planted so that their quotients fall on its cells' borders."""
    generator = torch.Generator().manual_seed(0)
    absmax = torch.randint(0, 65536, (1024,), generator=generator).float() / 65535 + 1e-3
    weight = (torch.rand(1024, 64, generator=generator) - 0.5) * absmax[:, None]
    weight[:, 11] = absmax
    codes, state = reference(weight)
    assert_same(quantize_nf4(weight), codes, state)


def test_a_wrong_table_would_be_noticed() -> None:
    """The oracle can fail: codes to the nearest level, as the paper has it, are not what bitsandbytes' CPU gives."""
    weight = random_weight((2048, 1024), torch.float32)
    _, state = reference(weight)
    absmax = weight.view(-1, 64).abs().amax(dim=1)
    blocks = (absmax - absmax.mean()).view(-1, 256)
    levels = torch.tensor(DYNAMIC_LEVELS)
    nearest = torch.bucketize(blocks / blocks.abs().amax(dim=1, keepdim=True), (levels[:-1] + levels[1:]) / 2)
    differ = (nearest.view(-1) != state.absmax).float().mean().item()
    assert 0 < differ < 0.2


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = random_weight((70, 65), torch.float32)
    whole = quantize_nf4(weight)
    values = dequantize_nf4(whole, torch.bfloat16)
    monkeypatch.setattr("semtune.nn.nf4._QUANTIZE_CHUNK", 128)
    monkeypatch.setattr("semtune.nn.nf4._DEQUANTIZE_CHUNK", 192)
    chunked = quantize_nf4(weight)
    assert torch.equal(chunked.codes, whole.codes) and torch.equal(chunked.scales, whole.scales)
    assert torch.equal(dequantize_nf4(chunked, torch.bfloat16), values)


def test_strided_weight() -> None:
    weight = random_weight((128, 64), torch.float32).t()
    assert_same(quantize_nf4(weight), *reference(weight.contiguous()))


class TestNF4Linear:
    def test_rows_can_be_sharded(self) -> None:
        layer = NF4Linear.from_weight(random_weight((96, 192), torch.float32))
        assert layer.codes.shape == (96, 96) and layer.scales.shape == (96, 3)
        rows = NF4Tensor(layer.codes[:64], layer.scales[:64], layer.nested_absmax, layer.offset, (64, 192))
        assert torch.equal(dequantize_nf4(rows, torch.float32), layer.dequantize()[:64])

    @pytest.mark.parametrize("columns", [128, 63])
    def test_constructor_lays_out_the_same_buffers(self, columns: int) -> None:
        made = NF4Linear.from_weight(random_weight((9, columns), torch.bfloat16), torch.zeros(9))
        empty = NF4Linear(columns, 9, bias=True, compute_dtype=torch.bfloat16)
        empty.load_state_dict(made.state_dict())
        assert torch.equal(empty.dequantize(), made.dequantize())
        assert empty.dequantize().dtype == torch.bfloat16

    def test_moving_to_a_dtype_keeps_the_scales(self) -> None:
        layer = NF4Linear.from_weight(random_weight((32, 64), torch.float32), torch.ones(32))
        before = layer.dequantize()
        layer.to(torch.bfloat16)
        assert layer.nested_absmax.dtype == torch.float32
        assert layer.bias is not None and layer.bias.dtype == torch.bfloat16
        assert torch.equal(layer.dequantize(torch.float32), before)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
    def test_forward_and_input_gradient(self, dtype: torch.dtype) -> None:
        layer = NF4Linear.from_weight(random_weight((96, 64), torch.float32), torch.linspace(-1, 1, 96), dtype)
        x = torch.randn(2, 5, 64, dtype=dtype, requires_grad=True)
        y = layer(x)
        assert y.dtype == dtype
        plain = torch.nn.functional.linear(x, layer.dequantize(dtype), layer.bias)
        assert torch.equal(y, plain)
        upstream = torch.randn_like(y)
        (grad,) = torch.autograd.grad(y, x, upstream)
        assert torch.allclose(grad, upstream @ layer.dequantize(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)

    def test_gradcheck(self) -> None:
        layer = NF4Linear.from_weight(random_weight((6, 64), torch.float64), torch.randn(6))
        assert torch.autograd.gradcheck(layer, torch.randn(3, 64, dtype=torch.float64, requires_grad=True))

    def test_no_unpacked_weight_is_kept_for_backward(self) -> None:
        layer = NF4Linear.from_weight(random_weight((96, 64), torch.float32))
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            layer(torch.randn(4, 64, requires_grad=True)).sum()
        assert all(t.numel() < 96 * 64 for t in kept)
        assert not list(layer.parameters())

    def test_traces_with_fake_tensors(self) -> None:
        with FakeTensorMode():
            layer = NF4Linear.from_weight(torch.empty(96, 64, dtype=torch.bfloat16))
            x = torch.empty(4, 64, requires_grad=True)
            layer(x).sum().backward()
            assert x.grad is not None and x.grad.shape == (4, 64)
