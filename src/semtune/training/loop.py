"""The training loop. All methods and readouts are trained by this one, so that their comparison is fair.

The loop knows neither methods nor readouts: it receives an optimizer, tokenized texts, a loss and a function that
scores dev (`Work`). Progress bars and `metrics.jsonl` are observers outside it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from semtune.contracts import TokenizedExample
from semtune.runtime.malloc import freed_memory_kept
from semtune.training.optimizer import Optimizer
from semtune.training.state import TrainOutcome, TrainSettings, TrainState


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One optimizer step."""

    step: int
    """From 1."""
    steps: int
    """Number of steps of the whole training, if it does not stop early."""
    epoch: int
    """From 1."""
    loss: float
    """Mean over the loss targets (tokens or labels) of the step."""
    grad_norm: float
    """L2 norm over all trained parameters, before clipping; without gradients their estimate of it (`mezo`)."""
    learning_rate: float
    tokens: int
    """Tokens of the step's texts; padding does not count."""
    seconds: float


@dataclass(frozen=True, slots=True)
class EpochEvent:
    """One epoch with its dev score."""

    epoch: int
    """From 1."""
    dev_score: float | None
    """None where there is no dev split."""
    metric: str
    """Name of the task's primary metric, which `dev_score` is."""
    seconds: float
    """Seconds of training, without evaluation."""
    evaluate_seconds: float
    """Seconds of scoring dev and saving the best weights."""
    best: bool
    """Whether this epoch's weights are the best so far."""


class Observer(Protocol):
    """Receives the loop's events."""

    def on_step(self, event: StepEvent) -> None: ...

    def on_epoch(self, event: EpochEvent) -> None: ...


class StepWork(Protocol):
    """What one optimizer step calls; a readout has these two methods."""

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        """The summed (not averaged) loss of a micro-batch, a scalar, and the number of targets it is summed over."""
        ...

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """The number of targets of one text, without running the model."""
        ...


class Work(StepWork, Protocol):
    """What the training loop calls."""

    def train_mode(self, training: bool) -> None:
        """Turn dropout on or off."""
        ...

    def evaluate(self) -> float | None:
        """The dev score in the task's primary metric; None where there is no dev split."""
        ...

    def keep(self) -> None:
        """Save the present weights as the best so far."""
        ...


def train(
    work: Work,
    state: TrainState,
    texts: Sequence[TokenizedExample],
    settings: TrainSettings,
    *,
    metric: str,
    higher_is_better: bool = True,
    observers: Sequence[Observer] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Train for `settings.epochs` epochs; score dev after each and save the weights of the best.

    Args:
        state: optimizer, schedule, sampler and outcome so far, updated in place (`TrainState.begin`: the first step).
        texts: the tokenized training examples that `state` was made for.
        metric: name of what `work.evaluate` returns.
        higher_is_better: whether a larger dev score is the better one.
        clock: the time in seconds, read after the device has been synchronised.

    Raises:
        DivergedError: the loss or the gradient norm is not finite; see `optimizer_step`.
    """
    outcome, sampler = state.outcome, state.sampler
    while sampler.epoch < settings.epochs and not _out_of_patience(outcome, settings):
        epoch, started = sampler.epoch + 1, clock()
        work.train_mode(True)
        try:
            with freed_memory_kept():
                for micro_batches in sampler:
                    batches = [[texts[i] for i in batch] for batch in micro_batches]
                    event = _timed_step(work, state, batches, settings.max_grad_norm, clock)
                    for observer in observers:
                        observer.on_step(event)
        finally:
            epoch_seconds = clock() - started
            outcome.train_seconds += epoch_seconds
        outcome.epoch_seconds.append(epoch_seconds)
        outcome.epochs_trained = epoch
        work.train_mode(False)
        started = clock()
        score = work.evaluate()
        better = _is_better(score, outcome.best_dev_score, higher_is_better)
        if better:
            work.keep()
            outcome.best_epoch, outcome.best_dev_score = epoch, score
        outcome.epochs_since_best = 0 if better else outcome.epochs_since_best + 1
        sampler.next_epoch()
        epoch_event = EpochEvent(epoch, score, metric, epoch_seconds, clock() - started, better)
        for observer in observers:
            observer.on_epoch(epoch_event)
    work.train_mode(False)


def optimizer_step(
    work: StepWork, optimizer: Optimizer, micro_batches: Sequence[Sequence[TokenizedExample]], max_grad_norm: float
) -> tuple[float, float, int]:
    """One optimizer step; returns its loss per target, its gradient norm before clipping, its tokens without padding.

    The loss is divided by the number of targets of the whole step, so that micro-batches equal one large batch.
    Raises DivergedError where the loss or the norm is not finite: before any weight changes, but for a norm that a
    fused update sees too late (`fused`).
    """
    num_targets = sum(work.num_targets(e) for batch in micro_batches for e in batch)

    def share_of(batch: Sequence[TokenizedExample]) -> Tensor:
        return work.loss(batch)[0] / num_targets

    losses = [functools.partial(share_of, batch) for batch in micro_batches]
    loss, norm = optimizer.minimise(losses, max_grad_norm)
    return loss, norm, sum(len(e) for batch in micro_batches for e in batch)


def _timed_step(
    work: StepWork,
    state: TrainState,
    micro_batches: Sequence[Sequence[TokenizedExample]],
    max_grad_norm: float,
    clock: Callable[[], float],
) -> StepEvent:
    """One optimizer step, recorded in `state.outcome`."""
    outcome, rate, started = state.outcome, state.optimizer.learning_rate(), clock()
    loss, norm, tokens = optimizer_step(work, state.optimizer, micro_batches, max_grad_norm)
    seconds = clock() - started
    outcome.steps += 1
    outcome.step_seconds.append(seconds)
    outcome.tokens.append(tokens)
    total, epoch = state.schedule.total_steps, state.sampler.epoch + 1
    return StepEvent(outcome.steps, total, epoch, loss, norm, rate, tokens, seconds)


def _out_of_patience(outcome: TrainOutcome, settings: TrainSettings) -> bool:
    return settings.patience is not None and outcome.epochs_since_best >= settings.patience


def _is_better(score: float | None, best: float | None, higher_is_better: bool) -> bool:
    """Whether to save the weights: there is no score, or it beats the best so far (the first of equals stays)."""
    if score is None or best is None:
        return True
    return score > best if higher_is_better else score < best
