"""Batches of texts of like length: less padding inside attention, steps of even cost.

Texts are shuffled, cut into pools of `POOL` batches, sorted by length within each pool, cut into batches, and the
batches are shuffled again: near-random order, near-equal lengths. In the first epoch the batch with the most tokens
comes first, so that a run which will not fit fails in its first step, not hours in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

POOL = 50
"""Batches sorted together; larger pools pad less and shuffle less."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch's batches; every text exactly once; the same for the same seed and epoch.

    Args:
        lengths: tokens of each text.
        batch_size: texts a batch; the last one of a pool may be smaller.
        epoch: counted from 0.
    """
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    pool = POOL * batch_size
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    rng.shuffle(batches)
    if epoch == 0 and batches:
        largest = max(range(len(batches)), key=lambda b: sum(lengths[i] for i in batches[b]))
        batches[0], batches[largest] = batches[largest], batches[0]
    return batches


def optimizer_steps(batches: list[list[int]], accumulation_steps: int) -> list[list[list[int]]]:
    """Micro-batches grouped by optimizer step; the last group may be shorter."""
    return [batches[i : i + accumulation_steps] for i in range(0, len(batches), accumulation_steps)]
