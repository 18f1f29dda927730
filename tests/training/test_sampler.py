"""Batches: every text once, like lengths together, the largest first, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtune.errors import OptionError
from semtune.training.sampler import LengthGroupedSampler, epoch_batches, optimizer_steps

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


@given(LENGTHS.filter(bool), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**40))
def test_one_process_takes_the_batches_as_they_are(
    lengths: list[int], size: int, accumulation: int, epoch: int, seed: int
) -> None:
    sampler = LengthGroupedSampler(lengths, size, seed, accumulation_steps=accumulation)
    for _ in range(epoch):
        sampler.next_epoch()
    steps = list(sampler)
    assert steps == optimizer_steps(epoch_batches(lengths, size, seed, epoch), accumulation)
    assert len(steps) == sampler.steps_per_epoch == sampler.position


@given(LENGTHS, st.integers(1, 9), st.integers(1, 4), st.integers(2, 5), st.integers(0, 2))
def test_ranks_share_every_text_and_take_equally_many_micro_batches(
    lengths: list[int], size: int, accumulation: int, world_size: int, epoch: int
) -> None:
    if len(lengths) < world_size:
        with pytest.raises(OptionError, match=f"shared by {world_size} processes"):
            LengthGroupedSampler(lengths, size, 0, world_size=world_size)
        return
    found = []
    for rank in range(world_size):
        sampler = LengthGroupedSampler(
            lengths, size, 0, accumulation_steps=accumulation, rank=rank, world_size=world_size
        )
        for _ in range(epoch):
            sampler.next_epoch()
        found.append(list(sampler))
    texts = [i for steps in found for step in steps for batch in step for i in batch]
    assert sorted(texts) == list(range(len(lengths)))
    assert len({tuple(len(step) for step in steps) for steps in found}) == 1, "a rank would wait for ever"
    sizes = [[len(batch) for step in steps for batch in step] for steps in found]
    assert all(1 <= n <= max(size, 2) for row in sizes for n in row)
    assert all(max(column) - min(column) <= 1 for column in zip(*sizes, strict=True))


def test_a_sampler_goes_on_within_an_epoch() -> None:
    lengths = [1 + (i * 37) % 50 for i in range(100)]
    straight, cut = (LengthGroupedSampler(lengths, 4, 9, accumulation_steps=2) for _ in range(2))
    expected = list(straight)
    steps = iter(cut)
    begun = [next(steps) for _ in range(5)]
    other = LengthGroupedSampler(lengths, 4, 9, accumulation_steps=2)
    other.load_state_dict(cut.state_dict())
    assert begun + list(other) == expected
    assert list(other) == [], "the epoch is over"
    straight.next_epoch(), other.next_epoch()
    assert list(other) == list(straight)
