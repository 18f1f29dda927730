"""The approach "tuned": it trains a `TunedModel` and predicts with it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from semtune.approaches.base_model import prepare_model
from semtune.approaches.data_start import start_on_data
from semtune.contracts import FitFigures, FitWatch, Prompt, Readout, TaskContext, TokenizedExample
from semtune.models.devices import resolve_device
from semtune.models.locate import locate_config, planning_tokenizer
from semtune.models.positions import check_positions
from semtune.records import Example, Prediction, RunSpec
from semtune.registry import PROMPTS, READOUTS
from semtune.specs import check_device, prompt_settings
from semtune.specs.presets import preset_notes
from semtune.specs.serves import check_combination
from semtune.training.loop import train
from semtune.training.metrics import MetricsFile
from semtune.training.state import TrainOutcome, TrainSettings, TrainState

if TYPE_CHECKING:
    from semtune.approaches.tuned_model import TunedModel


class Tuned:
    """The approach "tuned"; `contracts.Approach`."""

    uses: ClassVar[frozenset[str]] = frozenset({"model", "method", "prompt", "readout", "optimizer"})
    ignores: ClassVar[frozenset[str]] = frozenset()
    plannable: ClassVar[bool] = True
    kept_in: ClassVar[str] = "adapter"

    def __init__(self, spec: RunSpec, context: TaskContext) -> None:
        self.spec, self.context = spec, context
        self._model: TunedModel | None = None
        self._outcome = TrainOutcome()

    @property
    def model(self) -> TunedModel:
        """The assembled model. Raises RuntimeError before `load`."""
        if self._model is None:
            raise RuntimeError("call load before the model is used")
        return self._model

    @property
    def name(self) -> str:
        """The method."""
        return self.spec.method

    @property
    def notes(self) -> tuple[str, ...]:
        """The loaded model's notes, e.g. that its weights are random or were quantised before, and the preset's."""
        return (*self.model.loaded.notes, *preset_notes(self.spec), *self.model.readout.notes)

    @property
    def device(self) -> str:
        """The type of the device that `spec.device` resolves to here."""
        return str(resolve_device(self.spec.device))

    @property
    def trainable_parameters(self) -> int:
        """Number of trained scalars of the method and the readout."""
        return self.model.trainable_parameters()

    @property
    def total_parameters(self) -> int:
        """Number of scalars of the base model and all that is attached."""
        return self.model.total_parameters()

    @property
    def cut_tokens(self) -> Mapping[str, int]:
        """Example id -> tokens of its text that `max_length` cut, of the training texts or what was predicted last."""
        return self.model.loaded.tokenizer.cut_tokens

    @property
    def cut_limit(self) -> tuple[str, int]:
        """`max_length`."""
        return "--max-length", self.spec.max_length

    @property
    def fit_figures(self) -> FitFigures:
        """Figures of the training loop. The first step and epoch warm up caches and allocators, so rates omit them."""
        outcome = self._outcome
        steps, tokens = outcome.step_seconds[1:], outcome.tokens[1:]
        epochs = outcome.epoch_seconds[1:] or outcome.epoch_seconds
        return FitFigures(
            steps=outcome.steps,
            epochs_trained=outcome.epochs_trained,
            best_epoch=outcome.best_epoch,
            seconds_per_iteration=statistics.median(steps) if steps else None,
            seconds_per_epoch=statistics.mean(epochs) if epochs else None,
            tokens_per_second=sum(tokens) / sum(steps) if steps else None,
            train_seconds=outcome.train_seconds or None,
        )

    def prepare(self, on_phase: Callable[[str], None]) -> None:
        """Refuse a prompt or readout that does not serve the task, an optimizer that the device does not have, texts
        beyond the model's positions, and labels that do not survive the tokenizer; then download and convert the model.

        Raises OptionError, ModelError.
        """
        check_combination(self.spec.prompt, self.spec.readout, self.context.space)
        s = self.spec
        check_device(s, resolve_device(s.device).type)
        config = locate_config(s.model, trust_remote_code=s.trust_remote_code, revision=s.revision)
        check_positions(config, self.spec.max_length)
        checked = self._check_labels(config)
        prepare_model(self.spec, on_phase)
        if not checked:
            self._check_labels(config)

    def _check_labels(self, config: Any) -> bool:
        """Check what of the labels needs the tokenizer alone; False: that is not at hand yet. Raises OptionError."""
        s = self.spec
        readout: type[Readout] = READOUTS.get(s.readout)
        if readout.label_check is None:
            return True
        tokenizer, note = planning_tokenizer(
            s.model, config, trust_remote_code=s.trust_remote_code, revision=s.revision
        )
        if note is not None:  # another tokenizer than the model's own
            return False
        prompt: Prompt = PROMPTS.get(s.prompt)(self.context.space, prompt_settings(s))
        readout.label_check(s.readout, tokenizer, prompt, self.context.space)
        return True

    def load(self) -> None:
        """Load the base model, attach method and readout. Raises ModelError, TargetError, OptionError."""
        from semtune.approaches.tuned_model import TunedModel  # transformers: no need of a study itself

        self._model = TunedModel.build(self.spec, self.context.space)

    def fit(self, train_examples: Sequence[Example], dev: Sequence[Example], watch: FitWatch) -> None:
        """Train, score dev after each epoch, and end with the weights of the best epoch in the model.

        Raises DivergedError, DataError.
        """
        s, model = self.spec, self.model
        model.readout.prepare(train_examples)
        model.loaded.tokenizer.cut_tokens.clear()
        for note in model.readout.notes:
            for observer in watch.observers:
                observer.say(note)
        texts = [model.readout.encode(e) for e in train_examples]
        watch.on_tokenized()
        settings = TrainSettings(
            epochs=s.epochs, batch_size=s.batch_size, accumulation_steps=s.accumulation_steps,
            warmup_fraction=s.warmup_fraction, max_grad_norm=s.max_grad_norm, patience=s.patience, seed=s.seed,
        )  # fmt: skip
        start_on_data(
            model.method, model.loaded.model, model.settings, model.readout.loss, texts,
            batch_size=s.batch_size, seed=s.seed,
        )  # fmt: skip
        metric = self.context.primary
        metrics = MetricsFile(watch.metrics_file)
        work = _TunedWork(model, dev, watch)
        observers = [metrics, *watch.observers]
        try:
            choice = model.optimizer_choice
            state = TrainState.begin(model.groups(), texts, settings, self._outcome, choice=choice)
            train(
                work, state, texts, settings, metric=metric.name, higher_is_better=metric.higher_is_better,
                observers=observers, clock=watch.clock,
            )  # fmt: skip
        finally:
            metrics.close()
        if work.kept is not None and self._outcome.best_epoch != self._outcome.epochs_trained:
            self.restore(work.kept)

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        self.model.loaded.tokenizer.cut_tokens.clear()
        return self.model.predict(examples, progress)

    def save(self, folder: Path) -> None:
        """Write what was trained: adapters in PEFT's file format, and the readout's own parameters."""
        self.model.save(folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        self.model.restore(folder)

    def write_extras(self, folder: Path, split: str) -> None:
        """Nothing beside the weights."""


class _TunedWork:
    """`training.loop.Work`: the readout's loss, dev scoring, and saving of the best weights."""

    def __init__(self, model: TunedModel, dev: Sequence[Example], watch: FitWatch) -> None:
        self.model, self.dev, self.watch = model, dev, watch
        self.kept: Path | None = None

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        return self.model.readout.loss(batch)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return self.model.readout.num_targets(tokenized)

    def train_mode(self, training: bool) -> None:
        self.model.loaded.model.train(training)

    def evaluate(self) -> float | None:
        self.model.loaded.tokenizer.cut_tokens.clear()
        return self.watch.score_dev(lambda: self.model.readout.calibrate(self.dev, self.watch.choose_threshold))

    def keep(self) -> None:
        self.kept = self.watch.keep(self.model.save)
