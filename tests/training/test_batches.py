"""Batches: every text once, like lengths together, the largest first, the same for the same seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semtune.training.batches import epoch_batches, optimizer_steps

LENGTHS = st.lists(st.integers(1, 300), max_size=900)


@given(LENGTHS, st.integers(1, 16), st.integers(0, 2**63), st.integers(0, 5))
def test_every_text_once_in_batches_of_at_most_the_size(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert batches == epoch_batches(lengths, size, seed, epoch)


@given(LENGTHS.filter(bool), st.integers(1, 16))
def test_the_first_batch_of_all_has_the_most_tokens(lengths: list[int], size: int) -> None:
    tokens = [sum(lengths[i] for i in batch) for batch in epoch_batches(lengths, size, 0, 0)]
    assert tokens[0] == max(tokens)


def test_like_lengths_go_together_and_epochs_differ() -> None:
    lengths = [1 + (i * 37) % 200 for i in range(400)]
    batches = epoch_batches(lengths, 8, 0, 1)
    spreads = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert max(spreads) < 20, "random batches of eight spread over more than half of the 200 lengths"
    assert batches != epoch_batches(lengths, 8, 0, 2)
    assert batches != epoch_batches(lengths, 8, 1, 1)


@given(st.integers(0, 60), st.integers(1, 9))
def test_accumulation_drops_nothing(count: int, accumulation: int) -> None:
    batches = [[i] for i in range(count)]
    steps = optimizer_steps(batches, accumulation)
    assert [batch for step in steps for batch in step] == batches
    assert all(len(step) == accumulation for step in steps[:-1])
