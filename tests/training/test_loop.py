"""The loop on a linear model whose every figure can be worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.contracts import TokenizedExample
from semtune.errors import DivergedError
from semtune.training.loop import EpochEvent, StepEvent, train
from semtune.training.metrics import MetricsFile
from semtune.training.rule import ParameterGroup
from semtune.training.state import TrainOutcome, TrainSettings, TrainState


class Line:
    """Squared distance of a weight vector to one-hot token vectors; each completion token is one term."""

    def __init__(self, scores: Sequence[float | None] = (), poison_at: int | None = None) -> None:
        self.weight = nn.Parameter(torch.linspace(-1, 1, 8, dtype=torch.float64))
        self.scores = list(scores)
        self.poison_at = poison_at
        self.calls = 0
        self.kept: list[Tensor] = []
        self.modes: list[bool] = []

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        self.calls += 1
        ids = torch.tensor([i for e in batch for i in e.ids[e.prompt_length :]])
        loss = ((self.weight - nn.functional.one_hot(ids, 8).double()) ** 2).sum()
        return loss * (math.nan if self.calls == self.poison_at else 1.0), len(ids)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return len(tokenized) - tokenized.prompt_length

    def train_mode(self, training: bool) -> None:
        self.modes.append(training)

    def evaluate(self) -> float | None:
        return self.scores.pop(0) if self.scores else None

    def keep(self) -> None:
        self.kept.append(self.weight.detach().clone())


class Watcher:
    def __init__(self) -> None:
        self.steps: list[StepEvent] = []
        self.epochs: list[EpochEvent] = []

    def on_step(self, event: StepEvent) -> None:
        self.steps.append(event)

    def on_epoch(self, event: EpochEvent) -> None:
        self.epochs.append(event)


TEXTS = [TokenizedExample(str(n), tuple((n + k) % 8 for k in range(2 + n % 5)), 1, ()) for n in range(24)]
"""Of 1 to 5 num_targets: an average over micro-batches would not be the average over num_targets."""


def run(work: Line, *, higher_is_better: bool = True, **changes: object) -> tuple[TrainOutcome, Watcher]:
    plain = {"epochs": 1, "batch_size": 4, "accumulation_steps": 1, "warmup_fraction": 0.1}
    settings = TrainSettings(**(plain | {"max_grad_norm": 1e9, "patience": None, "seed": 3} | changes))
    outcome, watcher = TrainOutcome(), Watcher()
    state = TrainState.begin([ParameterGroup({"weight": work.weight}, 0.01)], TEXTS, settings, outcome)
    train(work, state, TEXTS, settings, metric="exact_match", higher_is_better=higher_is_better, observers=[watcher])
    return outcome, watcher


def test_accumulation_equals_one_large_batch() -> None:
    """All 24 texts in one step, whole or as micro-batches of different numbers of num_targets: the same weights."""
    whole, parts = Line(), Line()
    _, seen_whole = run(whole, batch_size=24)
    _, seen_parts = run(parts, batch_size=5, accumulation_steps=5)
    assert parts.calls == 5
    assert seen_parts.steps[0].loss == pytest.approx(seen_whole.steps[0].loss, abs=1e-12)
    assert seen_parts.steps[0].grad_norm == pytest.approx(seen_whole.steps[0].grad_norm, abs=1e-12)
    torch.testing.assert_close(parts.weight, whole.weight, rtol=0, atol=1e-12)


def test_the_loss_is_per_term() -> None:
    work = Line()
    loss, num_targets = work.loss(TEXTS)
    _, seen = run(Line(), batch_size=24)
    assert seen.steps[0].loss == pytest.approx(float(loss.detach()) / num_targets, abs=1e-12)


def test_what_is_counted() -> None:
    outcome, seen = run(Line([0.1, 0.2]), epochs=2)
    assert outcome.steps == len(seen.steps) == 12
    assert [event.step for event in seen.steps] == list(range(1, 13))
    assert sum(outcome.tokens) == 2 * sum(len(text) for text in TEXTS)
    assert outcome.train_seconds == pytest.approx(sum(outcome.epoch_seconds))
    assert sum(outcome.step_seconds) <= outcome.train_seconds


def test_the_best_weights_are_kept_the_first_of_equals() -> None:
    work = Line([0.2, 0.5, 0.5, 0.4])
    outcome, seen = run(work, epochs=4)
    assert (outcome.best_epoch, outcome.best_dev_score) == (2, 0.5)
    assert [event.best for event in seen.epochs] == [True, True, False, False]
    assert len(work.kept) == 2
    assert not torch.equal(work.kept[-1], work.weight), "training went on after the best epoch"


def test_of_a_metric_that_is_better_low_the_lowest_is_kept() -> None:
    work = Line([0.5, 0.2, 0.2, 0.4, 0.3])
    outcome, seen = run(work, epochs=8, higher_is_better=False, patience=3)
    assert (outcome.best_epoch, outcome.best_dev_score, outcome.epochs_trained) == (2, 0.2, 5)
    assert [(event.dev_score, event.metric, event.best) for event in seen.epochs[:3]] == [
        (0.5, "exact_match", True), (0.2, "exact_match", True), (0.2, "exact_match", False),
    ]  # fmt: skip


def test_the_metrics_file_names_the_metric(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.on_step(StepEvent(1, 2, 1, 0.5, 1.0, 1e-3, 7, 0.25))
    metrics.on_epoch(EpochEvent(1, 0.5, "micro_f1", 1.0, 0.5, True))
    metrics.on_epoch(EpochEvent(2, None, "exact_match", 1.0, 0.5, False))
    metrics.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "kind": "step", "step": 1, "epoch": 1, "loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-3, "tokens": 7,
        "seconds": 0.25,
    }  # fmt: skip
    assert rows[1] == {
        "kind": "epoch", "epoch": 1, "dev_micro_f1": 0.5, "seconds": 1.0, "evaluate_seconds": 0.5, "best": True
    }  # fmt: skip
    assert rows[2]["dev_exact_match"] is None


def test_patience_stops_after_epochs_without_a_better_score() -> None:
    outcome, _ = run(Line([0.5, 0.4, 0.3, 0.9]), epochs=4, patience=2)
    assert outcome.epochs_trained == 3


@pytest.mark.parametrize("poison_at", [1, 4])
def test_divergence_is_detected_before_it_reaches_the_weights(poison_at: int) -> None:
    work = Line(poison_at=poison_at)
    with pytest.raises(DivergedError, match="learning-rate"):
        run(work)
    assert work.calls == poison_at
    assert torch.isfinite(work.weight).all()


def test_dropout_is_on_while_training_and_off_while_scoring() -> None:
    work = Line([0.1, 0.1])
    run(work, epochs=2)
    assert work.modes == [True, False, True, False, False]


def test_same_seed_same_run() -> None:
    first, second, other = Line(), Line(), Line()
    run(first, seed=7)
    run(second, seed=7)
    run(other, seed=8)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)
