"""Cross-entropy over a vocabulary in chunks, against torch's over all scores at once."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from semtune.nn import linear_cross_entropy as module
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy

ROWS, HIDDEN, VOCAB = 11, 5, 17


def inputs(bias: bool, dtype: torch.dtype = torch.float64) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, HIDDEN), (VOCAB, HIDDEN), (VOCAB,)]
    drawn = [torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype) for shape in shapes]
    return drawn if bias else [*drawn[:2], None]


TARGETS = torch.arange(ROWS) * 3 % VOCAB


@pytest.mark.parametrize("rows_at_once", [1, 4, ROWS, 1000])
@pytest.mark.parametrize("upcast_rows", [1, 3, 1000])
@pytest.mark.parametrize("wants", [w for n in (1, 2, 3) for w in itertools.combinations(range(3), n)], ids=str)
def test_equals_torch(
    rows_at_once: int, upcast_rows: int, wants: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunks, and whichever gradients are wanted."""
    monkeypatch.setattr(module, "CHUNK_BYTES", rows_at_once * VOCAB * 8)
    monkeypatch.setattr(module, "_UPCAST_BYTES", upcast_rows * VOCAB * 4)
    ours, theirs = ([t.requires_grad_(i in wants) for i, t in enumerate(inputs(True))] for _ in range(2))
    loss = fused_linear_cross_entropy(*ours, TARGETS)
    expected = F.cross_entropy(F.linear(*theirs), TARGETS, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-14, atol=0)
    (loss / 7).backward()
    (expected / 7).backward()
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias", [False, True])
def test_blocks_of_the_vocabulary_equal_the_whole(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 the product goes through blocks of the weight's rows, the last one smaller than the others."""
    monkeypatch.setattr(module, "_BLOCK_ROWS", 4)
    products, mm = [], torch.mm

    def spy(hidden: torch.Tensor, block: torch.Tensor, **out: torch.Tensor) -> torch.Tensor:
        products.append(block.shape[1])
        return mm(hidden, block, **out)

    monkeypatch.setattr(torch, "mm", spy)
    ours, theirs = ([None if t is None else t.requires_grad_() for t in inputs(bias, torch.float32)] for _ in range(2))
    loss = fused_linear_cross_entropy(*ours, TARGETS)
    assert products == [4, 4, 4, 4, 1]
    expected = F.cross_entropy(F.linear(*theirs), TARGETS, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    loss.backward()
    expected.backward()
    for a, b in zip(ours, theirs, strict=True):
        if a is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("vocab", "rows"), [(49152, 128), (32000, 196), (262144, 64), (1 << 30, 1)])
def test_chunks_of_fp32_logits_are_neither_large_nor_thin(vocab: int, rows: int) -> None:
    assert module._rows_at_once(torch.float32, vocab) == rows
    assert module._rows_at_once(torch.bfloat16, vocab) == max(1, (64 << 20) // (2 * vocab))


def test_scores_of_one_chunk_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 2 * VOCAB * 8)
    sizes, linear = [], module.panels.linear

    def spy(*arguments: torch.Tensor) -> torch.Tensor:
        scores = linear(*arguments)
        sizes.append(len(scores))
        return scores

    monkeypatch.setattr(module.panels, "linear", spy)
    fused_linear_cross_entropy(*inputs(False), TARGETS)
    assert sizes == [2, 2, 2, 2, 2, 1]


def test_bf16_is_summed_in_fp32_and_rounded_once() -> None:
    hidden, weight, _ = inputs(False, torch.bfloat16)
    hidden.requires_grad_(True)
    loss = fused_linear_cross_entropy(hidden, weight, None, TARGETS)
    assert loss.dtype == torch.float32
    loss.backward()
    exact = hidden.detach().double().requires_grad_(True)
    F.cross_entropy(F.linear(exact, weight.double()), TARGETS, reduction="sum").backward()
    assert (hidden.grad.double() - exact.grad).norm() < 0.01 * exact.grad.norm()
