"""The state of a training apart from the weights: its settings, its outcome so far, and what a checkpoint needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semtune.contracts import TokenizedExample
from semtune.registry import OPTIMIZERS
from semtune.training.optimizer import Optimizer
from semtune.training.random_state import RandomState
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.sampler import LengthGroupedSampler
from semtune.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The options of the training loop."""

    epochs: int
    batch_size: int
    accumulation_steps: int
    warmup_fraction: float
    max_grad_norm: float
    patience: int | None
    """Number of epochs in a row without a better dev score after which training stops; None: no early stopping."""
    seed: int


@dataclass
class TrainOutcome:
    """What the training loop measured so far."""

    steps: int = 0
    """Number of optimizer steps made."""
    epochs_trained: int = 0
    best_epoch: int | None = None
    """Counted from 1."""
    best_dev_score: float | None = None
    """Value of the task's primary metric."""
    epochs_since_best: int = 0
    train_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Tokens of each step, without padding."""

    def state_dict(self) -> dict[str, Any]:
        """The fields, as numbers and lists of numbers."""
        return dataclasses.asdict(self)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Set the fields to those that `state_dict` returned."""
        for f in dataclasses.fields(self):
            value = saved[f.name]
            setattr(self, f.name, list(value) if isinstance(value, list) else value)


@dataclass(frozen=True, slots=True)
class TrainState:
    """The objects of one training, each with `state_dict` and `load_state_dict`.

    An observer's `on_step` or `on_epoch` can save it. Training continues from there with the same weights, a new
    TrainState and `load_state_dict`; every later step is then bitwise the same.
    """

    optimizer: Optimizer
    schedule: Schedule
    sampler: LengthGroupedSampler
    random: RandomState
    outcome: TrainOutcome

    @classmethod
    def begin(
        cls,
        groups: Sequence[ParameterGroup],
        texts: Sequence[TokenizedExample],
        settings: TrainSettings,
        outcome: TrainOutcome | None = None,
        *,
        choice: OptimizerChoice | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> TrainState:
        """The state before the first step.

        Args:
            groups: the trained parameters with their learning rates.
            texts: the tokenized training examples, all of them on every rank.
            outcome: updated during training, so that a run that fails half-way still has what was measured.
            choice: how gradients become updates; None: AdamW.
            rank: index of this process, from 0, among the `world_size` that train together.
        """
        sampler = LengthGroupedSampler(
            [len(text) for text in texts],
            settings.batch_size,
            settings.seed,
            accumulation_steps=settings.accumulation_steps,
            rank=rank,
            world_size=world_size,
        )
        schedule = Schedule(sampler.steps_per_epoch * settings.epochs, settings.warmup_fraction)
        optimizer = (choice or OptimizerChoice(OPTIMIZERS.get("adamw"))).make(groups, schedule)
        return cls(optimizer, schedule, sampler, RandomState(), outcome or TrainOutcome())

    def state_dict(self) -> dict[str, Any]:
        """One entry per object. Tensors of the optimizer are references: write or copy them before the next step."""
        return {f.name: getattr(self, f.name).state_dict() for f in dataclasses.fields(self)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. The weights must be in the model already.

        Raises ModelError, OptionError where it belongs to another model, method, optimizer or order of texts.
        """
        for f in dataclasses.fields(self):
            getattr(self, f.name).load_state_dict(saved[f.name])
