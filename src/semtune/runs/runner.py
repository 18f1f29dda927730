"""One run: load, train, predict, score, and write it all down. A run that fails is a result too, with its reason."""

from __future__ import annotations

import functools
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from semtune.approaches.tuned import TunedModel
from semtune.contracts import Task, TokenizedExample
from semtune.errors import DataError, DivergedError, DoesNotFitError, first_line
from semtune.measure.clock import synchronised_seconds
from semtune.measure.environment import environment
from semtune.measure.machine import cores
from semtune.measure.memory import PhaseMeter
from semtune.models.loading import resolve_device
from semtune.models.locate import prepare
from semtune.plan.requests import Data as PlanData
from semtune.plan.requests import check_conversion, here, plan_run, upper_bound_fits
from semtune.records import Example, Plan, RunResult, RunSpec, Status, TargetSpace
from semtune.registry import TASKS
from semtune.runs.folder import RunFolder, write_json, write_labels
from semtune.runtime.limits import is_out_of_memory
from semtune.specs import resolve, write_spec
from semtune.specs.serves import check_combination
from semtune.training.loop import EpochEvent, Observer, StepEvent, train
from semtune.training.metrics import MetricsFile
from semtune.training.state import TrainOutcome, TrainSettings, TrainState

logger = logging.getLogger(__name__)

SELECTION_SPLIT = "dev"
FINAL_SPLITS = ("dev", "test")


class RunProgress(Protocol):
    """What a run tells whoever watches it; also an observer of the training loop."""

    def on_phase(self, text: str, total: int | None) -> None:
        """A part of the run begins; `total` is the number of things that `on_done` will count."""
        ...

    def on_done(self, count: int) -> None: ...

    def on_step(self, event: StepEvent) -> None: ...

    def on_epoch(self, event: EpochEvent) -> None: ...


@dataclass
class _Data:
    """The splits of a task; `test` may be unlabelled or absent."""

    task: Task
    train: list[Example]
    dev: list[Example]
    final: dict[str, list[Example]] = field(default_factory=dict)

    @property
    def space(self) -> TargetSpace:
        return TargetSpace(self.task.target_kind, self.task.labels)


def run(
    spec: RunSpec, out: Path, progress: RunProgress, *, overwrite: bool = False, plan: Plan | None = None
) -> RunResult:
    """Tune as `spec` says and leave a run folder at `out`.

    Args:
        plan: of this very run, where there is one already.

    Raises:
        SemtuneError: the spec, the data, the model or `out` is at fault; nothing was trained. Running out of memory,
            divergence and an interruption are not raised but recorded.
    """
    spec = resolve(spec)
    data = load_data(spec)
    check_combination(spec.prompt, spec.readout, data.space)
    check_conversion(spec)
    progress.on_phase(f"preparing {spec.model}", None)
    prepare(spec.model, trust_remote_code=spec.trust_remote_code)
    folder = RunFolder.create(out, overwrite=overwrite)
    write_spec(spec, folder.spec)
    write_labels(folder, data.space)
    torch.set_num_threads(spec.threads or cores())
    write_json(folder.environment, environment())
    result = RunResult(
        task=spec.task, model=spec.model, method=spec.method, prompt=spec.prompt, readout=spec.readout,
        preset=spec.preset, seed=spec.seed, status="failed", selected_on=SELECTION_SPLIT, out=out.name,
        notes=data.task.notes,
    )  # fmt: skip
    session = _Session(spec, data, folder, progress, result, plan)
    try:
        session.guard()
        session.load()
        session.train()
        session.evaluate()
        session.finish("ok", None)
    except BaseException as error:
        status, reason = _status_of(error)
        session.finish(status, reason)
        if status == "failed" and not isinstance(error, KeyboardInterrupt):
            raise
    return session.result


def load_data(spec: RunSpec) -> _Data:
    """The task's splits, checked: train and dev labelled and not empty. Raises DataError."""
    task: Task = TASKS.get(spec.task)(spec.task_options)
    training, dev = task.load("train"), task.load(SELECTION_SPLIT)
    for split, examples in (("train", training), (SELECTION_SPLIT, dev)):
        if not examples:
            raise DataError(f"The {split} split of {spec.task} is empty; training needs it.")
        unlabelled = next((e.id for e in examples if e.target is None), None)
        if unlabelled is not None:
            raise DataError(f"The {split} split of {spec.task} has no labels for {unlabelled}; training needs them.")
    return _Data(task, training, dev, {split: task.load(split) for split in FINAL_SPLITS})


class _Session:
    """A run under way: its parts in order, and the result as far as it is known."""

    def __init__(
        self,
        spec: RunSpec,
        data: _Data,
        folder: RunFolder,
        progress: RunProgress,
        result: RunResult,
        plan: Plan | None = None,
    ) -> None:
        self.spec, self.data, self.folder, self.progress, self.result = spec, data, folder, progress, result
        self.plan = plan
        device = str(resolve_device(spec.device))
        self.clock = functools.partial(synchronised_seconds, device)
        self.meter = PhaseMeter(device)
        self.outcome = TrainOutcome()
        self.tuned: TunedModel | None = None

    def guard(self) -> None:
        """Stop a run that cannot fit before it takes the machine along. What surely fits is planned afterwards.

        Raises DoesNotFitError.
        """
        if self.plan is None:
            if upper_bound_fits(self.spec, self.texts()):
                return
            self.progress.on_phase("planning", None)
            self.make_plan()
        if self.plan is not None and not self.plan.fits:
            needed, free = max(self.plan.peak_bytes.values()), here().memory_bytes
            raise DoesNotFitError(
                f"the plan says {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                "`semtune plan` says what would make it fit, `--fit` does it"
            )

    def texts(self) -> PlanData:
        """What a plan must know of the data."""
        asked = [e for examples in self.data.final.values() for e in examples]
        return PlanData(self.data.space, self.data.train, asked)

    def make_plan(self) -> None:
        """The plan of this run. One that fails is no reason for a run not to be made, or not to be written down."""
        try:
            _, self.plan = plan_run(self.spec, self.texts(), self.meter.runtime_bytes)
        except Exception:
            logger.warning("This run could not be planned", exc_info=True)

    def load(self) -> None:
        """The base model, with method and readout attached."""
        self.progress.on_phase(f"loading {self.spec.model}", None)
        started = self.clock()
        with self.meter.phase("load"):
            self.tuned = TunedModel.build(self.spec, self.data.space)
        tuned = self.tuned
        self.result = replace(
            self.result,
            load_seconds=self.clock() - started,
            trainable_parameters=tuned.trainable_parameters(),
            total_parameters=tuned.total_parameters(),
            notes=(*self.result.notes, *tuned.loaded.notes),
        )

    def train(self) -> None:
        """The training loop; afterwards the best weights stand in adapter/ and in the model."""
        assert self.tuned is not None
        s = self.spec
        self.tuned.readout.prepare(self.data.train)
        texts = [self.tuned.readout.encode(e) for e in self.data.train]
        settings = TrainSettings(
            epochs=s.epochs, batch_size=s.batch_size, accumulation_steps=s.accumulation_steps,
            warmup_fraction=s.warmup_fraction, max_grad_norm=s.max_grad_norm, patience=s.patience, seed=s.seed,
        )  # fmt: skip
        metrics = MetricsFile(self.folder.metrics)
        observers: list[Observer] = [metrics, self.progress]
        work = _Work(self.tuned, self.data, self.folder, self.meter)
        self.progress.on_phase("training", None)
        try:
            with self.meter.phase("train"):
                train(
                    work,
                    TrainState.begin(self.tuned.groups(), texts, settings, self.outcome),  # freed when training ends
                    texts,
                    settings,
                    metric="micro_f1",
                    observers=observers,
                    clock=self.clock,
                )
        finally:
            metrics.close()
        if self.outcome.best_epoch != self.outcome.epochs_trained:
            self.tuned.restore(self.folder.best)
        self.folder.promote_best()

    def evaluate(self) -> None:
        """Predict dev and test with the kept weights, write the predictions, score what is labelled."""
        assert self.tuned is not None
        task, scores = self.data.task, dict(self.result.scores)
        for split, examples in self.data.final.items():
            if not examples:
                continue
            self.progress.on_phase(f"predicting {split}", len(examples))
            with self.meter.phase("evaluate"):
                started = self.clock()
                predictions = self.tuned.predict(examples, self.progress.on_done)
                seconds = self.clock() - started
            task.write_predictions(predictions, self.folder.predictions(split))
            if all(e.target is not None for e in examples):
                scores[split] = task.score(examples, predictions)
            self.result = replace(
                self.result,
                scores=scores,
                predict_seconds=seconds,
                predict_examples_per_second=len(examples) / seconds,
            )

    def finish(self, status: Status, reason: str | None) -> None:
        """Write `result.json`, and keep what weights there are."""
        if not self.folder.adapter.exists():
            if self.folder.best.exists():
                self.folder.promote_best()
            elif status == "failed" and self.tuned is not None and self.outcome.steps > 0:
                self.folder.keep_best(self.tuned.save)
                self.folder.promote_best()
        if status == "ok" and self.plan is None:
            self.make_plan()
        if status == "failed" and self.folder.adapter.exists():
            reason = f"{reason}; the weights kept so far are in adapter/"
        self.result = replace(
            self.result,
            status=status,
            reason=reason,
            runtime_bytes=self.meter.runtime_bytes,
            peak_bytes=dict(self.meter.peak_bytes),
            predicted_peak_bytes={} if self.plan is None else self.plan.peak_bytes,
            predicted_seconds_per_iteration=None if self.plan is None else self.plan.seconds_per_iteration,
            **_timings(self.outcome),
        )
        write_json(self.folder.result, self.result)


class _Work:
    """What the training loop is handed: the readout's loss, dev scoring in its own memory phase, the best weights."""

    def __init__(self, tuned: TunedModel, data: _Data, folder: RunFolder, meter: PhaseMeter) -> None:
        self.tuned, self.data, self.folder, self.meter = tuned, data, folder, meter

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        return self.tuned.readout.loss(batch)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return self.tuned.readout.num_targets(tokenized)

    def train_mode(self, training: bool) -> None:
        self.tuned.loaded.model.train(training)

    def evaluate(self) -> float | None:
        with self.meter.phase("evaluate"):
            predictions = self.tuned.readout.calibrate(self.data.dev, self.data.task.best_threshold)
        return self.data.task.score(self.data.dev, predictions).value

    def keep(self) -> None:
        self.folder.keep_best(self.tuned.save)


def _timings(outcome: TrainOutcome) -> dict[str, Any]:
    """The time fields of a result. The first step warms caches and allocators up and is left out of rates."""
    steps, tokens = outcome.step_seconds[1:], outcome.tokens[1:]
    epochs = outcome.epoch_seconds[1:] or outcome.epoch_seconds
    return {
        "epochs_trained": outcome.epochs_trained,
        "best_epoch": outcome.best_epoch,
        "seconds_per_iteration": statistics.median(steps) if steps else None,
        "seconds_per_epoch": statistics.mean(epochs) if epochs else None,
        "tokens_per_second": sum(tokens) / sum(steps) if steps else None,
        "train_seconds": outcome.train_seconds or None,
    }


def _status_of(error: BaseException) -> tuple[Status, str]:
    """How a run that ended with `error` ended, and its reason."""
    if isinstance(error, DivergedError):
        return "diverged", str(error)
    if isinstance(error, DoesNotFitError):
        return "does_not_fit", str(error)
    if is_out_of_memory(error):
        return "out_of_memory", f"needed more memory than this machine has free ({first_line(error)})"
    if isinstance(error, KeyboardInterrupt):
        return "failed", "interrupted by the user"
    return "failed", first_line(error)
