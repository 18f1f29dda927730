"""Batches of texts of similar length: less padding inside attention, and steps of similar cost.

Texts are shuffled, cut into pools of `POOL` batches, sorted by length within each pool, cut into batches, and the
batches are shuffled again: near-random order, near-equal lengths. In the first epoch the batch with the most tokens
comes first, so that a run that does not fit in memory fails in its first step, not after hours.

With several processes (ranks) a batch has `batch_size` texts for each of them. Its texts, sorted by length, go to the
ranks in turn, so that all ranks have equally many micro-batches of nearly equal size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from semtune.errors import OptionError

POOL = 50
"""Batches sorted together; larger pools pad less and shuffle less."""


class LengthGroupedSampler:
    """Iterates over the micro-batches of each optimizer step of an epoch; deterministic given the seed.

    Args:
        lengths: tokens of each text.
        batch_size: texts of a micro-batch on one rank.
        accumulation_steps: micro-batches of an optimizer step; an epoch's last step may have fewer.
        rank: this process, from 0.
        world_size: processes that train together.

    Raises:
        OptionError: there are fewer texts than processes.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        accumulation_steps: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(lengths) < world_size > 1:
            raise OptionError(f"{len(lengths)} texts cannot be shared by {world_size} processes; use fewer processes.")
        self._lengths, self._batch_size, self._seed = list(lengths), batch_size, seed
        self._accumulation_steps, self._rank, self._world_size = accumulation_steps, rank, world_size
        self.epoch = 0
        """Counted from 0."""
        self.position = 0
        """Number of optimizer steps of this epoch that were yielded."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, the same on every rank and in every epoch."""
        return len(self._steps(epoch=1))

    def __iter__(self) -> Iterator[list[list[int]]]:
        """The epoch's remaining optimizer steps, each as this rank's micro-batches of text indices."""
        for step in self._steps(self.epoch)[self.position :]:
            self.position += 1
            yield step

    def next_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """The position, and all that determines the order of the texts; the same on every rank."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self._seed,
            "texts": len(self._lengths),
            "batch_size": self._batch_size,
            "accumulation_steps": self._accumulation_steps,
            "world_size": self._world_size,
        }

    def load_state_dict(self, saved: Mapping[str, int]) -> None:
        """Continue where `state_dict` was taken. Raises OptionError where the order of the texts would differ."""
        for name, value in self.state_dict().items():
            if name not in ("epoch", "position") and saved[name] != value:
                raise OptionError(
                    f"The training to go on with has {name.replace('_', ' ')} {saved[name]}, this one {value}; "
                    "give what it began with."
                )
        self.epoch, self.position = int(saved["epoch"]), int(saved["position"])

    def _steps(self, epoch: int) -> list[list[list[int]]]:
        """The optimizer steps of an epoch: this rank's micro-batches of text indices."""
        batches = epoch_batches(self._lengths, self._batch_size * self._world_size, self._seed, epoch, self._world_size)
        mine = [batch[self._rank :: self._world_size] for batch in batches]
        return optimizer_steps(mine, self._accumulation_steps)


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int, smallest: int = 1) -> list[list[int]]:
    """Indices of one epoch's batches; every text exactly once; the same for the same seed and epoch.

    Args:
        lengths: tokens of each text.
        batch_size: texts of a batch; the last one of a pool may be smaller.
        epoch: counted from 0.
        smallest: minimum number of texts of a batch, where there are so many. Only if it equals `batch_size` can a
            batch be larger than `batch_size`.
    """
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    pools = [order[start : start + POOL * batch_size] for start in range(0, len(order), POOL * batch_size)]
    if len(pools) > 1 and len(pools[-1]) < smallest:
        pools[-2] += pools.pop()
    batches: list[list[int]] = []
    for pool in pools:
        by_length = sorted(pool, key=lambda i: lengths[i])
        batches += _cut(by_length, batch_size, smallest)
    rng.shuffle(batches)
    if epoch == 0 and batches:
        largest = max(range(len(batches)), key=lambda b: sum(lengths[i] for i in batches[b]))
        batches[0], batches[largest] = batches[largest], batches[0]
    return batches


def _cut(texts: list[int], batch_size: int, smallest: int) -> list[list[int]]:
    """Batches of `batch_size` texts; a last one below `smallest` takes texts from the one before, or joins it."""
    starts = list(range(0, len(texts), batch_size))
    if len(starts) > 1 and len(texts) - starts[-1] < smallest:
        starts[-1] = len(texts) - smallest
        if starts[-1] - starts[-2] < smallest:
            starts.pop()
    return [texts[start:end] for start, end in zip(starts, [*starts[1:], len(texts)], strict=True)]


def optimizer_steps(batches: list[list[int]], accumulation_steps: int) -> list[list[list[int]]]:
    """Micro-batches grouped by optimizer step; the last group may be shorter."""
    return [batches[i : i + accumulation_steps] for i in range(0, len(batches), accumulation_steps)]
