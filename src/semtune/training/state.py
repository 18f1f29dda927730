"""All that decides how training goes on, apart from the weights: settings, outcome so far, and the objects' states."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semtune.contracts import TokenizedExample
from semtune.training.optimizer import Optimizer, ParameterGroup
from semtune.training.random_state import RandomState
from semtune.training.sampler import LengthGroupedSampler
from semtune.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the loop itself needs to know."""

    epochs: int
    batch_size: int
    accumulation_steps: int
    warmup_fraction: float
    max_grad_norm: float
    patience: int | None
    """Epochs in a row without a better dev score after which training stops; None: it never does."""
    seed: int


@dataclass
class TrainOutcome:
    """What the loop measured."""

    steps: int = 0
    """Optimizer steps."""
    epochs_trained: int = 0
    best_epoch: int | None = None
    """From 1."""
    best_dev_score: float | None = None
    """Of the task's primary metric."""
    epochs_since_best: int = 0
    train_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Real tokens of each step."""

    def state_dict(self) -> dict[str, Any]:
        """The fields, as numbers and lists of numbers."""
        return dataclasses.asdict(self)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take the fields over."""
        for f in dataclasses.fields(self):
            value = saved[f.name]
            setattr(self, f.name, list(value) if isinstance(value, list) else value)


@dataclass(frozen=True, slots=True)
class TrainState:
    """The objects of one training, each with `state_dict` and `load_state_dict`.

    Whoever makes it and hands it to `train` can save it in an observer's `on_step` or `on_epoch`, and go on from there
    with the same weights, a new TrainState and `load_state_dict`: every later step has the same bits.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> TrainState:
        """At the first step.

        Args:
            groups: what is trained and how fast.
            texts: the tokenized training examples, all of them on every rank.
            outcome: filled in as training goes, so that a run which fails half-way still knows what it measured.
            rank: this process, from 0, of the `world_size` that train together.
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
        return cls(Optimizer(groups, schedule), schedule, sampler, RandomState(), outcome or TrainOutcome())

    def state_dict(self) -> dict[str, Any]:
        """One entry an object. Tensors of the optimizer are references: write or copy them before the next step."""
        return {f.name: getattr(self, f.name).state_dict() for f in dataclasses.fields(self)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Load the weights into the model first.

        Raises ModelError, OptionError where it belongs to another model, method, optimizer or order of texts.
        """
        for f in dataclasses.fields(self):
            getattr(self, f.name).load_state_dict(saved[f.name])
