"""Every compiled loop against the torch formula that it stands in for, computed in fp64 and rounded once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from semtune.nn import int4, kernels, low_rank, nf4, padding
from semtune.nn.argmax import row_argmax
from semtune.nn.attention import packed_attention
from semtune.nn.cuda_path import assume_cuda
from semtune.nn.dropout import DropoutMask
from semtune.nn.elementwise import add_rms_norm, rms_norm, swiglu
from semtune.nn.int4 import dequantize_int4, quantize_int4
from semtune.nn.kernels import attention_operators, operators, training_operators
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy
from semtune.nn.low_rank_products import Adapter, add_low_rank_, low_rank_gradients
from semtune.nn.nf4 import dequantize_nf4, quantize_nf4
from semtune.nn.packed_batch import PackedBatch
from semtune.nn.padding import Rotary
from semtune.runtime.processor import usable_levels
from semtune.training import masters
from semtune.training.eight_bit import EightBitState, eight_bit
from semtune.training.masters import masters as masters_of

from . import aarch64

compiled = pytest.mark.skipif(kernels.library() is None, reason="no compiled kernels here")


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both element types of the loops."""
    chosen: torch.dtype = request.param
    return chosen


AARCH64 = pytest.param(
    "aarch64",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(bool(aarch64.MISSING), reason=f"not installed: {', '.join(aarch64.MISSING)}"),
    ],
)


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> aarch64.Emulated:
    """The loops on an emulated 64-bit ARM processor."""
    return aarch64.Emulated(tmp_path_factory.mktemp("aarch64"))


@pytest.fixture(params=[*usable_levels(), AARCH64], autouse=True)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every level of instructions that this machine has, and 64-bit ARM."""
    if request.param == "aarch64":
        loops: aarch64.Emulated = request.getfixturevalue("emulated")
        for module in (operators, attention_operators, training_operators, nf4, int4):
            monkeypatch.setattr(module, "run", loops.run)
    else:
        monkeypatch.setattr(kernels, "_LEVEL", request.param)


def draw(dtype: torch.dtype, *shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Random numbers that bf16 represents, so that both types get the same; wanting a gradient."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread
    return x.bfloat16().to(dtype).requires_grad_(True)


def wide(x: Tensor) -> Tensor:
    return x.detach().double().requires_grad_(True)


def one_rounding(found: Tensor, exact: Tensor, units: float = 1.0) -> None:
    """bf16 `found` is within `units` last places of the fp64 value, and mostly the nearest number.

    In fp32 it is within 16 · `units` places: a sum of fp32 products has rounding errors of its own, which vanish in
    bf16's last place.
    """
    tolerance = units * (2**-8 if found.dtype == torch.bfloat16 else 2**-20)
    atol = tolerance * (1e-2 if found.dtype == torch.bfloat16 else 1.0)
    torch.testing.assert_close(found.double(), exact.double(), rtol=tolerance, atol=atol)


def one_rounding_of_sums(found: Tensor, exact: Tensor) -> None:
    """As `one_rounding`; fp32 elements, sums of large products that cancel, are measured by the largest one."""
    if found.dtype == torch.bfloat16:
        one_rounding(found, exact)
    else:
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=3e-6 * float(exact.abs().max()))


def near(found: Tensor, exact: Tensor, rtol: float, atol: float) -> None:
    """`found` is within these bounds where it is bf16, a thousandth of them where it is fp32."""
    share = 1.0 if found.dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(found.double(), exact.double(), rtol=rtol * share, atol=atol * share)


def test_a_build_with_a_compiler_has_the_kernels() -> None:
    """A silent fall-back would pass every other test here."""
    if sys.platform != "linux" or subprocess.run(["which", "cc"], capture_output=True).returncode != 0:
        pytest.skip("no C compiler here, so semtune was installed without its compiled part")
    assert os.environ.get("SEMTUNE_KERNELS") in ("off", "0") or kernels.library() is not None


class Subclassed(Tensor):
    """A tensor whose elements may be anywhere."""


def test_only_what_the_loops_can_read_is_supported(dtype: torch.dtype) -> None:
    good = torch.zeros(4, 4, dtype=dtype)
    there = kernels.library() is not None
    assert kernels.supports(good, None) == there
    assert kernels.supports(torch.nn.Parameter(good)) == there
    assert not kernels.supports(good.double())
    assert not kernels.supports(
        good, torch.zeros(4, dtype=torch.float32 if dtype == torch.bfloat16 else torch.bfloat16)
    )
    assert not kernels.supports(good.t()[1:])
    assert not kernels.supports(good.as_subclass(Subclassed))
    assert not kernels.supports(good.to("meta"))
    with assume_cuda():
        assert not kernels.supports(good)
    assert kernels.supports(good) == there
    with FakeTensorMode():  # operators have fake implementations
        assert kernels.supports(torch.zeros(4, 4, dtype=dtype)) == there


@compiled
@pytest.mark.parametrize("width", [1, 15, 64, 577])
def test_norm(dtype: torch.dtype, width: int) -> None:
    x, delta, w, past = (
        draw(dtype, 5, width),
        draw(dtype, 5, width, seed=1),
        draw(dtype, width, seed=2),
        draw(dtype, 5, width, seed=3),
    )
    exact = [wide(t) for t in (x, delta, w)]
    total, y = add_rms_norm(x, delta, w, 1e-5)
    rounded_total = (exact[0] + exact[1]).detach().to(dtype).double()  # what is normed is the rounded sum
    expected_total = exact[0] + exact[1] + (rounded_total - (exact[0] + exact[1])).detach()
    expected = F.rms_norm(expected_total, (width,), exact[2], 1e-5)
    assert torch.equal(total, rounded_total.to(dtype))
    one_rounding(y, expected)
    ((total * past).sum() + y.square().sum()).backward()
    ((expected_total * past.double()).sum() + expected.square().sum()).backward()
    for ours, theirs in zip((x, delta, w), exact, strict=True):
        scale = float(theirs.grad.abs().max())
        near(ours.grad, theirs.grad, rtol=0.02, atol=0.01 * scale)
    assert torch.equal(x.grad, delta.grad)
    one_rounding(rms_norm(x, w, 1e-5), F.rms_norm(wide(x), (width,), wide(w), 1e-5))


@compiled
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_swiglu(dtype: torch.dtype, spread: float) -> None:
    gate, up = draw(dtype, 7, 45, spread=spread), draw(dtype, 7, 45, seed=1)
    exact = [wide(gate), wide(up)]
    y, expected = swiglu(gate, up), F.silu(exact[0]) * exact[1]
    one_rounding(y, expected)
    y.backward(torch.ones_like(y))
    expected.backward(torch.ones_like(expected))
    for ours, theirs in zip((gate, up), exact, strict=True):
        one_rounding(ours.grad, theirs.grad)


@compiled
@pytest.mark.parametrize("queries", [None, (1, 4, 5, 11)])
@pytest.mark.parametrize("turned", [False, True])
def test_attention(dtype: torch.dtype, turned: bool, queries: tuple[int, ...] | None) -> None:
    """Against the same function in fp64, which other tests hold against the textbook."""
    lengths, heads, kv_heads, dim = (4, 7, 1), 4, 2, 8
    rows = 12 if queries is None else len(queries)
    padding = 3
    q, k, v = (
        draw(dtype, rows + padding, heads, dim),
        draw(dtype, 15, kv_heads, dim, seed=1),
        draw(dtype, 15, kv_heads, dim, seed=2),
    )
    angles = torch.randn(7, dim // 2, generator=torch.Generator().manual_seed(4))
    rotary = Rotary(angles.cos().to(dtype), angles.sin().to(dtype)) if turned else None
    exact = [wide(t) for t in (q, k, v)]
    exact_rotary = Rotary(rotary.cos.double(), rotary.sin.double()) if rotary is not None else None

    def run(q: Tensor, k: Tensor, v: Tensor, rotary: Rotary | None) -> Tensor:
        packed_batch = PackedBatch(lengths, padding=padding)
        return packed_attention(q, k, v, packed_batch, layer=0, scale=0.4, rotary=rotary, query_indices=queries)

    ours, theirs = run(q, k, v, rotary), run(*exact, exact_rotary)
    near(ours, theirs, rtol=0.03, atol=0.02)
    assert not ours[rows:].any()
    weight = draw(dtype, rows + padding, heads, dim, seed=5).detach()
    (ours * weight).sum().backward()
    (theirs * weight.double()).sum().backward()
    for a, b in zip((q, k, v), exact, strict=True):
        near(a.grad, b.grad, rtol=0.05, atol=0.03 * float(b.grad.abs().max()))


@compiled
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(9, 3, 64), (4, 4, 80)])
@pytest.mark.parametrize("last_tokens", [False, True])
def test_attention_over_longer_texts(
    dtype: torch.dtype, heads: int, kv_heads: int, dim: int, last_tokens: bool
) -> None:
    """Whole registers and what is left of them; texts that ask nothing; every gradient by itself."""
    lengths = (57, 16, 1, 100)
    rows = sum(lengths)
    queries = (50, 55, 56, 72, *range(80, 97), 173) if last_tokens else None  # the third text asks nothing
    asking = rows if queries is None else len(queries)
    q, k, v = (
        draw(dtype, asking, heads, dim),
        draw(dtype, rows + 2, kv_heads, dim, seed=1),
        draw(dtype, rows + 2, kv_heads, dim, seed=2),
    )
    angles = torch.randn(100, dim // 2, generator=torch.Generator().manual_seed(4))
    exact = [wide(t) for t in (q, k, v)]
    weight = draw(dtype, asking, heads, dim, seed=5).detach()

    def run(tensors: list[Tensor], rotary: Rotary) -> Tensor:
        packed_batch = PackedBatch(lengths, padding=2)
        return packed_attention(*tensors, packed_batch, layer=0, scale=dim**-0.5, rotary=rotary, query_indices=queries)

    ours = run([q, k, v], Rotary(angles.cos(), angles.sin()))
    theirs = run(exact, Rotary(angles.cos().double(), angles.sin().double()))
    one_rounding(ours, theirs, units=2)
    ours.backward(weight)
    theirs.backward(weight.double())
    for at, (a, b) in enumerate(zip((q, k, v), exact, strict=True)):
        one_rounding(a.grad, b.grad, units=2)
        alone = [t.detach().requires_grad_(i == at) for i, t in enumerate((q, k, v))]
        run(alone, Rotary(angles.cos(), angles.sin())).backward(weight)
        assert torch.equal(alone[at].grad, a.grad)


@compiled
@pytest.mark.parametrize(
    ("inputs", "outputs", "rank", "tokens"), [(576, 192, 8, 101), (48, 80, 7, 50), (32, 16, 17, 1)]
)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("lowest", [False, True])
def test_low_rank(
    dtype: torch.dtype, inputs: int, outputs: int, rank: int, tokens: int, dropout: float, lowest: bool
) -> None:
    """`lowest`: nothing below wants a gradient."""
    y, x = draw(dtype, tokens, outputs).detach(), draw(dtype, tokens, inputs, seed=1).detach()
    a, b = draw(dtype, rank, inputs, seed=2).detach().float(), draw(dtype, outputs, rank, seed=3).detach().float()
    grad_y, past = draw(dtype, tokens, outputs, seed=4).detach(), draw(dtype, tokens, inputs, seed=5).detach()
    mask = DropoutMask(12345, round(dropout * 65536)) if dropout else None
    adapter, exact = Adapter(a, b, 0.7, mask), Adapter(a.double(), b.double(), 0.7, mask)
    exact_y, exact_x = y.double(), None if lowest else past.double()
    exact_inner = add_low_rank_(exact_y, x.double(), exact)
    expected = low_rank_gradients(grad_y.double(), x.double(), exact_inner, exact, exact_x, True, True)
    found_y, found_x = y.clone(), None if lowest else past.clone()
    inner = add_low_rank_(found_y, x, adapter)
    assert len(inner) == tokens + 1  # the compiled loop ran
    found = low_rank_gradients(grad_y, x, inner, adapter, found_x, True, True)
    one_rounding_of_sums(found_y, exact_y)
    if found_x is not None and exact_x is not None:
        one_rounding_of_sums(found_x, exact_x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
    assert low_rank_gradients(grad_y, x, inner, adapter, None, False, False) == (None, None)


@compiled
def test_softmax_is_rounded_once(dtype: torch.dtype) -> None:
    layout = PackedBatch((5, 3)).layout(torch.device("cpu"))
    scores = draw(dtype, 4, 10, 5, spread=8.0).detach()  # texts 2 · kv_heads 2, group 2 · max_seqlen 5, keys
    by_text = scores.double().view(2, 4, 5, 5)
    exact = torch.softmax((by_text * 0.3).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf), -1)
    found = padding.causal_softmax_(scores.clone(), layout, 4, 0.3).view(2, 4, 5, 5)
    one_rounding(found[0], exact[0])
    one_rounding(found[1, :, :3], exact[1, :, :3])
    assert not found[1, :, 3:].any()


@compiled
@pytest.mark.parametrize("vocabulary", [3, 4096, 9001])
def test_cross_entropy(dtype: torch.dtype, vocabulary: int) -> None:
    hidden, weight = draw(dtype, 5, 4), draw(dtype, vocabulary, 4, seed=1)
    targets = torch.tensor([0, vocabulary - 1, 1, 2, vocabulary // 2])
    scores = F.linear(hidden, weight).detach()  # the rounding of the product is not the loss's
    loss = fused_linear_cross_entropy(hidden, weight, None, targets)
    exact = F.cross_entropy(scores.double(), targets, reduction="sum")
    assert abs(float(loss.detach()) - float(exact)) < 2e-6 * float(exact)
    loss.backward()
    wide_hidden, wide_weight = wide(hidden), wide(weight)
    F.cross_entropy(F.linear(wide_hidden, wide_weight), targets, reduction="sum").backward()
    for ours, theirs in ((hidden, wide_hidden), (weight, wide_weight)):
        scale = float(theirs.grad.abs().max())
        near(ours.grad, theirs.grad, rtol=0.03, atol=0.01 * scale)


@compiled
@pytest.mark.parametrize("shape", [(3, 64), (97, 576), (1, 16448)])
def test_nf4_to_the_bit(dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    packed = quantize_nf4(torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.03)
    fast = dequantize_nf4(packed, dtype)
    monkeypatch.setattr(nf4, "supports", lambda *tensors: False)
    assert torch.equal(fast, dequantize_nf4(packed, dtype))


@compiled
@pytest.mark.parametrize("shape", [(3, 64), (97, 576), (5, 70), (1, 16448)])
def test_int4_to_the_bit(dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    packed = quantize_int4(torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.03)
    fast = dequantize_int4(packed, dtype)
    monkeypatch.setattr(int4, "supports", lambda *tensors: False)
    assert torch.equal(fast, dequantize_int4(packed, dtype))


@compiled
def test_adamw_equals_the_torch_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three updates, clipped, the last one with a gradient added up in fp32; both against each other and fp64."""
    initial = torch.randn(1003, generator=torch.Generator().manual_seed(0)).bfloat16()
    weights = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(masters, "supports", lambda *tensors: False)
        parameter = torch.nn.Parameter(initial.clone())
        states = masters_of({"weight": parameter}, 0.1)
        for step in range(3):
            for part in range(2 if step == 2 else 1):
                parameter.grad = torch.randn(1003, generator=torch.Generator().manual_seed(step + 10 * part)).bfloat16()
                states.accumulate()
            states.step(1e-2, torch.tensor(0.5))
        weights.append((parameter.detach().clone(), states.states["weight"].master()))
    torch.testing.assert_close(weights[0][1], weights[1][1], rtol=1e-5, atol=1e-6)
    assert (weights[0][0] != weights[1][0]).float().mean() < 0.01  # at most a rounding border here and there
    assert not torch.equal(weights[0][0], initial)


@compiled
def test_square_sum_is_exact(dtype: torch.dtype) -> None:
    parameter = torch.nn.Parameter(torch.zeros(30001, dtype=dtype))
    parameter.grad = torch.randn(30001, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = float(parameter.grad.double().square().sum())
    states = masters_of({"weight": parameter}, 0.0)
    states.accumulate()
    assert abs(float(states.square_norm()) / expected - 1) < 1e-6


@compiled
def test_dora_scaling(dtype: torch.dtype) -> None:
    """Against the torch formula in fp64, also for a row whose magnitude and norm are zero."""
    generator = torch.Generator().manual_seed(0)
    magnitude, norms = torch.rand(2, 70, generator=generator) + 0.5
    magnitude[3] = norms[5] = 0.0
    found = []
    for wanted in (dtype, torch.float64):
        z = draw(dtype, 9, 70).detach().to(wanted).requires_grad_(True)
        m = magnitude.clone().detach().to(torch.float64 if wanted == torch.float64 else torch.float32)
        m.requires_grad_(True)
        y = low_rank._scale_rows(z.clone(), m, norms.to(m.dtype))
        y.backward(draw(dtype, 9, 70, seed=1).detach().to(wanted))
        found.append((y.detach(), z.grad, m.grad))
    for ours, exact in zip(found[0][:2], found[1][:2], strict=True):
        one_rounding(ours, exact)
    torch.testing.assert_close(found[0][2].double(), found[1][2], rtol=0.02, atol=0.05)
    assert found[0][2].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_argmax_takes_the_first_of_equals(dtype: torch.dtype) -> None:
    x = (draw(torch.float32, 7, 333).detach() * 2).round().to(dtype)  # many equals
    x[0], x[1], x[2, 332] = -1.0, -torch.inf, 99.0
    expected = [int((row == row.max()).nonzero()[0]) for row in x]
    assert row_argmax(x).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_argmax_points_at_the_first_nan(dtype: torch.dtype) -> None:
    """As torch's does, so that a NaN among the logits cannot hide behind the largest number."""
    x = draw(torch.float32, 5, 333).detach().to(dtype)
    x[0, 7], x[1, 0], x[2, 332], x[3, 100], x[3, 200] = (torch.nan,) * 5
    assert row_argmax(x).tolist() == x.float().argmax(dim=-1).tolist()
    assert row_argmax(x).tolist()[:4] == [7, 0, 332, 100]


@compiled
@pytest.mark.parametrize(
    ("dtype", "master"), [(torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False)], ids=str
)
def test_adamw_in_8_bits_equals_the_torch_formula(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, master: bool
) -> None:
    """A last block that is not full, gradients over many decades and exact zeros among them."""
    generator = torch.Generator().manual_seed(0)
    initial = torch.randn(9003, generator=generator).to(dtype)
    sizes = 10.0 ** (-8 * torch.rand(9003, generator=generator))
    sizes[::17] = 0.0
    found = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(masters, "supports", lambda *tensors: False)
        parameter = torch.nn.Parameter(initial.clone())
        updates = eight_bit({"weight": parameter}, 0.1, master_weights=master)
        for step in range(3):
            for part in range(2 if step == 2 else 1):
                grad = torch.randn(9003, generator=torch.Generator().manual_seed(step + 10 * part))
                parameter.grad = (grad * sizes).to(dtype)
                updates.accumulate()
            updates.step(1e-2, torch.tensor(0.5))
        slot = updates.states["weight"]
        assert isinstance(slot, EightBitState)
        found.append((parameter.detach().clone(), slot))
    (fast_weight, fast_slot), (slow_weight, slow_slot) = found
    for name in ("mean_codes", "square_codes"):
        ours, theirs = getattr(fast_slot, name).int(), getattr(slow_slot, name).int()
        assert (ours - theirs).abs().max() <= 1
        assert (ours != theirs).float().mean() < 1e-3  # a quotient at the border of two levels
    # 1 - beta2 is formed in fp32 here and in fp64 there, which is 1.3e-5 of it
    torch.testing.assert_close(fast_slot.mean_scales, slow_slot.mean_scales, rtol=3e-5, atol=0)
    torch.testing.assert_close(fast_slot.square_scales, slow_slot.square_scales, rtol=3e-5, atol=0)
    torch.testing.assert_close(fast_weight, slow_weight, rtol=2**-7 if dtype == torch.bfloat16 else 1e-5, atol=1e-4)
