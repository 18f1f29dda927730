"""INT4 against its definition, computed group by group in plain Python floats; what merging changes, and what not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from semtune.nn.int4 import GROUP, dequantize_int4, quantize_int4
from semtune.nn.linear import Int4Linear

SHAPES = [(6, 64), (3, 32), (5, 30), (7, 65), (1, 1), (4, 96), (2, 33)]


def random_weight(shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(shape[0] * 1000 + shape[1])
    spread = torch.rand(shape[0], 1, generator=generator)
    return (torch.randn(shape, generator=generator) * 0.05 * spread + 0.01).to(dtype)


def as_defined(weight: Tensor) -> tuple[list[list[int]], Tensor]:
    """The codes of each row's whole groups and last one, and the matrix that they stand for, in fp64."""
    codes: list[list[int]] = []
    values = torch.empty(weight.shape, dtype=torch.float64)
    for i, row in enumerate(weight.double().tolist()):
        codes.append([])
        for start in range(0, len(row), GROUP):
            group = row[start : start + GROUP]
            least, step = min(group), (max(group) - min(group)) / 15
            scale = float(torch.tensor(step).bfloat16())
            zero = -least / scale
            new = [min(15, round((w - least) / scale)) for w in group]
            codes[-1] += new
            values[i, start : start + GROUP] = torch.tensor(
                [scale * (code - zero) for code in new], dtype=torch.float64
            )
    return codes, values


def unpacked(codes: Tensor, columns: int) -> list[list[int]]:
    both = torch.stack([codes >> 4, codes & 15], dim=-1).view(len(codes), -1)
    return both[:, :columns].tolist()


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != (1, 1)], ids=str)
def test_codes_and_values_are_as_defined(shape: tuple[int, int]) -> None:
    weight = random_weight(shape, torch.float64)
    if shape[1] % GROUP == 1:
        weight[:, -1] = 0.5  # a group of one weight has no range: see the edge cases
        weight = weight[:, : shape[1] - 1]
    quantized = quantize_int4(weight, torch.float64)
    codes, values = as_defined(weight)
    assert unpacked(quantized.codes, weight.shape[1]) == codes
    torch.testing.assert_close(dequantize_int4(quantized, torch.float64), values, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_weight_is_off_by_more_than_half_a_step(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = random_weight(shape, dtype)
    quantized = quantize_int4(weight)
    assert quantized.zeros.dtype == torch.float32 and quantized.scales.dtype == torch.bfloat16
    error = (dequantize_int4(quantized, torch.float64) - weight.double()).abs()
    steps = quantized.scales.double().repeat_interleave(GROUP, dim=1)[:, : shape[1]]
    assert (error <= 0.5 * steps * 1.07 + 1e-7).all()  # the rounded scale may end half a step of 1/128 too early


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_one_rounding_from_the_exact_value(dtype: torch.dtype) -> None:
    quantized = quantize_int4(random_weight((7, 65)))
    exact = dequantize_int4(quantized, torch.float32)
    assert torch.equal(dequantize_int4(quantized, dtype), exact.to(dtype))
    assert torch.equal(dequantize_int4(quantized, torch.float64), exact.double())


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [("zeros", 0.0), ("constant", 0.0), ("negative", 4e-3), ("one value", 0.04), ("tiny", 4e-31), ("large", 1e34)],
)
def test_edge_cases(case: str, tolerance: float) -> None:
    weight = torch.zeros(2, 64)
    if case == "constant":
        weight += -0.3
    elif case == "negative":
        weight -= 1 + 0.1 * torch.rand(2, 64, generator=torch.Generator().manual_seed(0))
    elif case == "one value":
        weight[0, 5] = 1.0
    elif case in ("tiny", "large"):
        weight = random_weight((2, 64)) * (1e-30 if case == "tiny" else 1e36)
    layer = Int4Linear.from_weight(weight)
    error = (layer.dequantize(torch.float32) - weight).abs().max()
    assert error <= max(tolerance, 1e-6 * float(weight.abs().max()))
    before = layer.dequantize(torch.float64)
    delta = 0.25 * torch.ones(2, 2) * (1 if case != "large" else 1e36)
    layer.add_to_groups(delta)
    moved = layer.dequantize(torch.float64)
    assert moved.isfinite().all()
    torch.testing.assert_close(moved, before + float(delta[0, 0]), rtol=1e-6, atol=1e-6)


class TestInt4Linear:
    @pytest.mark.parametrize("columns", [64, 70])
    def test_adding_to_groups_changes_zero_points_alone(self, columns: int) -> None:
        layer = Int4Linear.from_weight(random_weight((6, columns), torch.float64))
        before = layer.dequantize()
        codes, scales, zeros = layer.codes.clone(), layer.scales.clone(), layer.zeros.clone()
        delta = torch.randn(6, layer.groups, dtype=torch.float64)
        layer.add_to_groups(delta)
        assert torch.equal(layer.codes, codes) and torch.equal(layer.scales, scales)
        assert not torch.equal(layer.zeros, zeros) and layer.zeros.dtype == torch.float64
        expected = before + delta.repeat_interleave(GROUP, dim=1)[:, :columns]
        torch.testing.assert_close(layer.dequantize(), expected, rtol=0, atol=1e-13)

    def test_the_shared_buffer_never_gives_the_weight_from_before(self) -> None:
        layer = Int4Linear.from_weight(random_weight((6, 64)))
        x = torch.eye(64)
        before = layer(x)
        assert torch.equal(layer(x), before)
        layer.add_to_groups(torch.ones(6, 2))
        torch.testing.assert_close(layer(x), before + 1)
        layer.load_state_dict({**layer.state_dict(), "scales": 2 * layer.scales})
        torch.testing.assert_close(layer(x), 2 * (before + 1))
        other = Int4Linear.from_weight(random_weight((3, 40)))
        assert torch.equal(other(torch.eye(40)).t(), other.dequantize(torch.float32))
        torch.testing.assert_close(layer(x), 2 * (before + 1))

    def test_moving_it_converts_nothing(self) -> None:
        layer = Int4Linear.from_weight(random_weight((6, 64), torch.bfloat16), torch.ones(6))
        stored = {name: buffer.clone() for name, buffer in layer.named_buffers()}
        for moved in (copy.deepcopy(layer).double(), copy.deepcopy(layer).to(torch.bfloat16), layer.half()):
            for name, buffer in moved.named_buffers():
                assert buffer.dtype == stored[name].dtype and torch.equal(buffer, stored[name])

    @pytest.mark.parametrize("columns", [64, 70])
    def test_constructor_lays_out_the_same_buffers(self, columns: int) -> None:
        for dtype in (torch.bfloat16, torch.float64):
            made = Int4Linear.from_weight(random_weight((9, columns), dtype), torch.zeros(9, dtype=dtype))
            empty = Int4Linear(columns, 9, bias=True, compute_dtype=dtype)
            described = [{n: (t.shape, t.dtype) for n, t in m.state_dict().items()} for m in (made, empty)]
            assert described[0] == described[1]

    def test_a_weight_costs_five_and_a_half_bits(self) -> None:
        layer = Int4Linear.from_weight(random_weight((16, 128)))
        assert 8 * layer.weight_bytes == 5.5 * 16 * 128

    def test_fake_tensors(self) -> None:
        with FakeTensorMode():
            layer = Int4Linear.from_weight(torch.empty(96, 70, dtype=torch.bfloat16))
            x = torch.empty(5, 70, dtype=torch.bfloat16, requires_grad=True)
            y = layer(x)
            y.sum().backward()
            assert y.shape == (5, 96) and x.grad is not None and x.grad.shape == (5, 70)
