"""The one loop: every method and readout goes through it, or the comparison is not fair.

It knows neither: it is handed parameters, tokenized texts, a loss and a way to score dev. Progress bars, `metrics.jsonl`
and checkpoints are observers outside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from semtune.contracts import TokenizedExample
from semtune.errors import DivergedError
from semtune.runtime.malloc import freed_memory_kept
from semtune.training.batches import epoch_batches, optimizer_steps
from semtune.training.optimizer import Optimizer, ParameterGroup


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the loop itself needs to know."""

    epochs: int
    batch_size: int
    accumulation_steps: int
    warmup_fraction: float
    max_grad_norm: float
    patience: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One optimizer step."""

    step: int
    """From 1."""
    steps: int
    """Of the whole training, if it does not stop early."""
    epoch: int
    """From 1."""
    loss: float
    """Per loss target."""
    grad_norm: float
    learning_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EpochEvent:
    """One epoch with its dev score."""

    epoch: int
    dev_micro_f1: float | None
    seconds: float
    """Training alone."""
    evaluate_seconds: float
    best: bool


@dataclass
class TrainOutcome:
    """What the loop measured."""

    steps: int = 0
    epochs_trained: int = 0
    best_epoch: int | None = None
    best_dev_micro_f1: float | None = None
    train_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Real tokens of each step."""


class Observer(Protocol):
    """What happens beside the loop."""

    def on_step(self, event: StepEvent) -> None: ...

    def on_epoch(self, event: EpochEvent) -> None: ...


class StepWork(Protocol):
    """What one optimizer step is handed to do (a readout, for one)."""

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]: ...

    def num_targets(self, tokenized: TokenizedExample) -> int: ...


class Work(StepWork, Protocol):
    """What the loop is handed to do."""

    def train_mode(self, training: bool) -> None:
        """Dropout on or off."""
        ...

    def evaluate(self) -> float | None:
        """Dev micro-F1; None where there is no dev split."""
        ...

    def keep(self) -> None:
        """Keep the present weights as the best so far."""
        ...


def train(
    work: Work,
    groups: Sequence[ParameterGroup],
    texts: Sequence[TokenizedExample],
    settings: TrainSettings,
    outcome: TrainOutcome,
    observers: Sequence[Observer] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Train for `settings.epochs` epochs, score dev after each, keep the best.

    Args:
        groups: what is trained and how fast.
        texts: the tokenized training examples.
        outcome: filled in as training goes, so that a run which fails half-way still knows what it measured.
        clock: a synchronised clock in seconds.

    Raises:
        DivergedError: the loss or the gradient norm is not finite; the weights are then those before that step.
    """
    lengths = [len(t) for t in texts]
    per_epoch = len(optimizer_steps(epoch_batches(lengths, settings.batch_size, 0, 1), settings.accumulation_steps))
    total = per_epoch * settings.epochs
    optimizer = Optimizer(groups, total, settings.warmup_fraction)
    since_best = 0
    for epoch in range(settings.epochs):
        started = clock()
        batches = epoch_batches(lengths, settings.batch_size, settings.seed, epoch)
        work.train_mode(True)
        try:
            with freed_memory_kept():
                for micro_batches in optimizer_steps(batches, settings.accumulation_steps):
                    rate = optimizer.learning_rate()
                    step_started = clock()
                    loss, norm, tokens = optimizer_step(
                        work, optimizer, [[texts[i] for i in mb] for mb in micro_batches], settings.max_grad_norm
                    )
                    seconds = clock() - step_started
                    outcome.steps += 1
                    outcome.step_seconds.append(seconds)
                    outcome.tokens.append(tokens)
                    event = StepEvent(outcome.steps, total, epoch + 1, loss, norm, rate, tokens, seconds)
                    for observer in observers:
                        observer.on_step(event)
        finally:
            epoch_seconds = clock() - started
            outcome.train_seconds += epoch_seconds
        outcome.epoch_seconds.append(epoch_seconds)
        outcome.epochs_trained = epoch + 1
        better = _score_dev(work, outcome, epoch + 1, epoch_seconds, observers, clock)
        since_best = 0 if better else since_best + 1
        if settings.patience is not None and since_best >= settings.patience:
            break
    work.train_mode(False)


def optimizer_step(
    work: StepWork, optimizer: Optimizer, micro_batches: Sequence[Sequence[TokenizedExample]], max_grad_norm: float
) -> tuple[float, float, int]:
    """One optimizer step; divided by the num_targets of the whole step, so that micro-batches equal one large batch."""
    num_targets = sum(work.num_targets(e) for batch in micro_batches for e in batch)
    total: Tensor | None = None
    for batch in micro_batches:
        loss, _ = work.loss(batch)
        loss = loss / num_targets
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.collect()
        total = loss.detach() if total is None else total + loss.detach()
    norm = optimizer.clip(max_grad_norm)
    assert total is not None
    loss_value, norm_value = torch.stack([total.double(), norm.double()]).tolist()
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        raise DivergedError(
            f"The loss ({loss_value:g}) or the gradient norm ({norm_value:g}) is not finite; "
            "lower --learning-rate, or use a wider --precision."
        )
    optimizer.step()
    return loss_value, norm_value, sum(len(e) for batch in micro_batches for e in batch)


def _score_dev(
    work: Work,
    outcome: TrainOutcome,
    epoch: int,
    epoch_seconds: float,
    observers: Sequence[Observer],
    clock: Callable[[], float],
) -> bool:
    """Score dev, keep the weights if they are the best so far (the first of equals); whether they are."""
    work.train_mode(False)
    started = clock()
    score = work.evaluate()
    best = outcome.best_dev_micro_f1
    better = score is None or best is None or score > best
    if better:
        work.keep()
        outcome.best_epoch, outcome.best_dev_micro_f1 = epoch, score
    event = EpochEvent(epoch, score, epoch_seconds, clock() - started, better)
    for observer in observers:
        observer.on_epoch(event)
    return better
