"""One run of any approach: load, fit, predict, score, and write the run folder. A failed run has a `result.json` too.

Nothing here imports torch, so that a baseline runs in a small process; approaches and plans import it when needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from semtune.contracts import Approach, FitFigures, TaskContext
from semtune.measure.clock import synchronised_seconds
from semtune.measure.environment import environment
from semtune.measure.machine import available_memory_bytes
from semtune.measure.memory import PhaseMeter, resident_bytes
from semtune.records import Example, Plan, Prediction, RunResult, RunSpec, Status
from semtune.registry import APPROACHES
from semtune.runs import identity, succession
from semtune.runs.cut import cut_texts
from semtune.runs.data import RunData, load_data
from semtune.runs.fingerprints import code_version, given_files, model_fingerprint, now
from semtune.runs.finite import check_predictions, finite_scores
from semtune.runs.folder import RunFolder, write_json, write_labels
from semtune.runs.lock import locked
from semtune.runs.outcome import ending, unmeasured
from semtune.runs.watch import SELECTION_SPLIT, RunWatch
from semtune.runtime.imports import heavy_imports
from semtune.runtime.limits import limit_memory
from semtune.specs import resolve, write_spec
from semtune.tasks.intervals import intervals_of
from semtune.tasks.label_names import label_notes

if TYPE_CHECKING:
    from semtune.runs.guard import Guard
    from semtune.training.loop import EpochEvent, StepEvent


class RunProgress(Protocol):
    """Receives the progress of a run, e.g. to draw a bar; also an observer of the training loop."""

    def on_phase(self, text: str, total: int | None) -> None:
        """A phase such as "loading" begins; `total` is the number of examples that `on_done` will count in it."""
        ...

    def on_done(self, count: int) -> None:
        """`count` more examples are done."""
        ...

    def say(self, text: str) -> None:
        """A line that stays: something that the user must know before the run ends."""
        ...

    def on_step(self, event: StepEvent) -> None: ...

    def on_epoch(self, event: EpochEvent) -> None: ...


def run(
    spec: RunSpec,
    out: Path,
    progress: RunProgress,
    *,
    overwrite: bool = False,
    plan: Plan | None = None,
    bound_memory: bool = False,
) -> RunResult:
    """Fit the approach of `spec`, predict, score, and write the run folder `out`.

    A run that replaces another one (`overwrite`) is written beside it and takes its place once it has ended well; one
    that has not stays in `out/successor`.

    Args:
        plan: the plan of this run, if it was made before; None: made here when needed.
        bound_memory: limit this process to the free memory, until it ends, so that a CPU run that needs more fails
            with an allocation error instead of exhausting the machine.

    Raises:
        SemtuneError: the spec, the data, the model or `out` is at fault, or another process writes to `out`; nothing
            was fitted. Running out of memory, divergence and an interruption are not raised but recorded.
    """
    spec = resolve(spec)
    succession.check_out(out, overwrite=overwrite)
    with locked(out):
        run_id = identity.requested(out, spec) or identity.new_id()
        return _run(spec, out, run_id, progress, overwrite=overwrite, plan=plan, bound_memory=bound_memory)


def _run(
    spec: RunSpec,
    out: Path,
    run_id: str,
    progress: RunProgress,
    *,
    overwrite: bool,
    plan: Plan | None,
    bound_memory: bool,
) -> RunResult:
    """`run`, with a resolved spec and the lock of `out`."""
    data = load_data(spec)
    if identity.told(out, spec) != data.fingerprint:
        for note in (*data.task.data_notes, *label_notes(data.task.labels), *data.fold_notes):
            progress.say(note)
    context = TaskContext.of(data.task)
    approach: Approach = APPROACHES.get(spec.approach)(spec, context)
    if bound_memory and approach.device == "cpu":
        limit_memory(available_memory_bytes() + resident_bytes())
    approach.prepare(lambda text: progress.on_phase(text, None))
    folder = succession.begin(out, overwrite=overwrite)
    identity.withdraw(out)
    write_spec(spec, folder.spec)
    write_labels(folder, context.space)
    write_json(folder.environment, environment())
    marks = {
        "run_id": run_id,
        "data_fingerprint": data.fingerprint,
        "model_fingerprint": model_fingerprint(spec),
        "file_fingerprints": given_files(spec),
        "code_version": code_version(),
    }
    active = _ActiveRun(spec, approach, data, folder, progress, _guard_of(approach, spec, data, plan), marks)
    try:
        active.check()
        active.load()
        active.fit()
        active.evaluate()
        active.finish("ok", None)
    except BaseException as error:
        status, reason = ending(error)
        active.finish(status, reason)
        if status == "failed":
            raise
    if active.result.status == "ok":
        succession.accept(folder)
    return active.result


def _guard_of(approach: Approach, spec: RunSpec, data: RunData, plan: Plan | None) -> Guard | None:
    """The object that plans the run and stops one that cannot fit; None: the approach is not plannable."""
    if not approach.plannable:
        return None
    with heavy_imports():
        from semtune.runs.guard import Guard

    return Guard(spec, TaskContext.of(data.task), data.train, list(data.final.values()), plan)


class _ActiveRun:
    """A run in progress: one method per phase, called in order, and the result as far as it is known."""

    def __init__(
        self,
        spec: RunSpec,
        approach: Approach,
        data: RunData,
        folder: RunFolder,
        progress: RunProgress,
        guard: Guard | None,
        marks: Mapping[str, Any],
    ) -> None:
        """`marks`: fields of the result that say which run this is and what it depends on."""
        self.approach, self.data, self.folder, self.progress, self.guard = approach, data, folder, progress, guard
        self.clock: Callable[[], float] = functools.partial(synchronised_seconds, approach.device)
        self.meter = PhaseMeter(approach.device)
        metric = data.task.metrics[0].name
        notes = (*data.task.notes, *label_notes(data.task.labels), *data.fold_notes)
        notes = (*notes, *(shared.sentence() for shared in data.overlaps))
        self.dev_predictions: Sequence[Prediction] | None = None
        """Predictions of `data.dev` by the best state, where fitting has made them."""
        self.result = unmeasured(spec, "failed", notes=notes, metric=metric, overlaps=data.overlaps, **marks)

    def check(self) -> None:
        """Stop a run that cannot fit before anything is loaded. Raises DoesNotFitError."""
        if self.guard is not None:
            self.guard.check(self.meter.runtime_bytes, lambda: self.progress.on_phase("planning", None))

    def load(self) -> None:
        """Load what fitting and predicting need, and record its time and parameters."""
        self.progress.on_phase(f"loading {self.result.model or self.approach.name}", None)
        started = self.clock()
        with self.meter.phase("load"):
            self.approach.load()
        self.result = replace(
            self.result,
            load_seconds=self.clock() - started,
            trainable_parameters=self.approach.trainable_parameters,
            total_parameters=self.approach.total_parameters,
            notes=(*self.result.notes, *self.approach.notes),
        )

    def fit(self) -> None:
        """Fit; afterwards the best state is in the run folder and in the approach."""
        data = self.data
        watch = RunWatch(
            data.task, data.dev, self.folder, self.meter, self.clock, [self.progress],
            on_tokenized=lambda: self._count_cut("train", data.train),
        )  # fmt: skip
        self.progress.on_phase("training", None)
        started = self.clock()
        with self.meter.phase("train"):
            self.approach.fit(data.train, data.dev, watch)
        self.result = replace(
            self.result,
            train_seconds=self.clock() - started - watch.scoring_seconds,
            selected_on=SELECTION_SPLIT if watch.scored else None,
        )
        self.dev_predictions = watch.kept_predictions
        self._take_notes()
        if not self.folder.best.exists():
            self.folder.keep_best(self.approach.save)
        self.folder.promote_best(self.approach.kept_in)

    def evaluate(self) -> None:
        """Predict dev and test with the best state, write the predictions, score the labelled splits."""
        task, scores = self.data.task, dict(self.result.scores)
        splits = {split: examples for split, examples in self.data.final.items() if examples}
        for split, examples in splits.items():
            predictions = self._made_while_fitting(examples, timed=split == list(splits)[-1])
            if predictions is None:
                predictions = self._predict(split, examples)
            self._count_cut(split, examples)
            task.write_predictions(predictions, self.folder.predictions(split))
            self.approach.write_extras(self.folder.path, split)
            if all(e.target is not None for e in examples):
                scored = finite_scores(task.score(examples, predictions), split)
                scores[split] = replace(scored, intervals=intervals_of(task, examples, predictions))
            self.result = replace(self.result, scores=scores)
        for note in self._take_notes():
            self.progress.say(note)

    def _made_while_fitting(self, examples: list[Example], *, timed: bool) -> Sequence[Prediction] | None:
        """The predictions of dev that chose the best state; None: there are none, or they must be `timed`."""
        return self.dev_predictions if examples == self.data.dev and not timed else None

    def _predict(self, split: str, examples: list[Example]) -> Sequence[Prediction]:
        """Predictions with the best state; the result has the time of the last call."""
        self.progress.on_phase(f"predicting {split}", len(examples))
        with self.meter.phase("evaluate"):
            started = self.clock()
            predictions = check_predictions(self.approach.predict(examples, self.progress.on_done))
            seconds = self.clock() - started
        self.result = replace(self.result, predict_seconds=seconds, predict_examples_per_second=len(examples) / seconds)
        return predictions

    def _take_notes(self) -> list[str]:
        """Record what the approach has to say now beside what it said before; what is new."""
        new = [note for note in dict.fromkeys(self.approach.notes) if note not in self.result.notes]
        self.result = replace(self.result, notes=(*self.result.notes, *new))
        return new

    def _count_cut(self, split: str, examples: list[Example]) -> None:
        """Record and say how many texts of a split were cut, and by how much, where any were."""
        found = cut_texts(self.approach, examples)
        if found is not None:
            self.result = replace(self.result, cut_texts={**self.result.cut_texts, split: found})
            self.progress.say(found.sentence(f"{split} texts"))

    def finish(self, status: Status, reason: str | None) -> None:
        """Write `result.json`; after a failed or interrupted fit also save the weights so far."""
        kept = self.folder.path / self.approach.kept_in
        if not kept.exists():
            if self.folder.best.exists():
                self.folder.promote_best(self.approach.kept_in)
            elif status in ("failed", "interrupted") and self.approach.fit_figures.steps > 0:
                self.folder.keep_best(self.approach.save)
                self.folder.promote_best(self.approach.kept_in)
        if status in ("failed", "interrupted") and kept.exists():
            place = kept.relative_to(self.folder.home).as_posix()
            reason = f"{reason}; the weights kept so far are in {place}/"
        self.result = replace(
            self.result,
            status=status,
            reason=reason,
            out=self.folder.where(ok=status == "ok"),
            ended_at=now(),
            runtime_bytes=self.meter.runtime_bytes,
            peak_bytes=dict(self.meter.peak_bytes),
            **self._planned(status),
            **_measured_fields(self.approach.fit_figures),
        )
        write_json(self.folder.result, self.result)

    def _planned(self, status: Status) -> dict[str, Any]:
        """The plan's estimates, to compare with what was measured."""
        if self.guard is None:
            return {}
        if status == "ok":
            self.guard.plan_at_end(self.meter.runtime_bytes)
        plan = self.guard.plan
        if plan is None:
            return {}
        return {
            "predicted_peak_bytes": plan.peak_bytes,
            "predicted_seconds_per_iteration": plan.seconds_per_iteration,
            "predicted_seconds_per_example": plan.seconds_per_example,
        }


def _measured_fields(figures: FitFigures) -> dict[str, Any]:
    """The fields of `RunResult` that an approach measured itself."""
    values = {field.name: getattr(figures, field.name) for field in fields(figures) if field.name != "steps"}
    return {name: value for name, value in values.items() if value is not None}
