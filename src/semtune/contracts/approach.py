"""The contract of an approach: the methods of anything that a study compares (tuned, prompted, baseline)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from semtune.records import Example, Metric, Prediction, RunSpec, Scores, TargetKind, TargetSpace, TaskOptions, Usage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from semtune.contracts.task import Task


ScoreFunction = Callable[[Sequence[Example], Sequence[Prediction]], Scores]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What an approach may know of a task: enough to fit and predict without the task's files."""

    name: str
    space: TargetSpace
    metrics: tuple[Metric, ...]
    """The primary metric first; () where the context was read from a run folder."""
    label_definitions: Mapping[str, str] = field(default_factory=dict)
    """What each label means; empty where the task does not say."""
    score: ScoreFunction | None = field(default=None, compare=False)
    """The task's scorer, for choices made while fitting; None where a fitted approach is only loaded to predict."""
    date_column: str | None = None
    """What the user calls the column with the texts' dates; None: not named, or only loaded to predict."""

    @classmethod
    def of(cls, task: Task) -> TaskContext:
        """The context of `task`. Raises DataError where the task reads its data to know its labels."""
        space = TargetSpace(task.target_kind, task.labels)
        options = getattr(task, "options", None)  # a plugin's task may have none
        date_column = options.date_column if isinstance(options, TaskOptions) else None
        return cls(task.name, space, task.metrics, task.label_definitions, task.score, date_column)

    @property
    def primary(self) -> Metric:
        """The metric that selects and ranks. Raises IndexError where the context was read from a run folder."""
        return self.metrics[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the space."""
        return self.space.labels


@dataclass(frozen=True, slots=True)
class FitFigures:
    """What an approach measured of its own fitting; None: not measured, so what the runner measured stands.

    Every field except `steps` overwrites the field of the same name in `RunResult`; times are in seconds.
    """

    steps: int = 0
    """Optimizer steps made. From the first one on the runner saves the weights of an interrupted `fit`."""
    epochs_trained: int | None = None
    best_epoch: int | None = None
    seconds_per_iteration: float | None = None
    seconds_per_epoch: float | None = None
    tokens_per_second: float | None = None
    train_seconds: float | None = None
    usage: Usage | None = None
    """Of prompting, also of an interrupted `predict`."""


class FitWatch(Protocol):
    """What the runner offers an approach that is being fitted."""

    @property
    def observers(self) -> Sequence[Any]:
        """Objects with `say(text)`, `on_step(event)` and `on_epoch(event)`, such as a progress bar."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time in seconds, read after the approach's device has been synchronised."""
        ...

    @property
    def metrics_file(self) -> Path:
        """The JSON-lines file of steps and epochs (`metrics.jsonl`); an approach without steps writes none."""
        ...

    def on_tokenized(self) -> None:
        """To be called before training, when `Approach.cut_tokens` has the training examples that were cut."""
        ...

    def score_dev(self, predict_dev: Callable[[], Sequence[Prediction]]) -> float:
        """The primary score of the dev predictions that `predict_dev` returns.

        `predict_dev` runs in the memory phase "evaluate", and the runner does not count its time as training time.
        Where `keep` follows before the weights change, these are the kept state's predictions of dev, which the runner
        does not ask for again.
        """
        ...

    def choose_threshold(self, examples: Sequence[Example], probabilities: npt.NDArray[np.float64]) -> float:
        """The threshold with the best primary score on `examples`, of train or dev; see `Task.best_threshold`."""
        ...

    def keep(self, save: Callable[[Path], None]) -> Path:
        """Store the present weights as the best so far, in place of those stored before.

        Args:
            save: writes the weights to the folder that it receives; `Approach.save`, mostly.

        Returns:
            That folder, which exists until `fit` returns.
        """
        ...


class Approach(Protocol):
    """A row of a study: a tuned model, a prompted one, a baseline. One runner treats all of them alike.

    Constructed as `ApproachClass(spec, context)` with a resolved spec; construction reads and loads nothing.
    Order of calls: `prepare`, `load`, then `fit` or `restore`, then `predict` and `save`.
    """

    uses: ClassVar[frozenset[str]]
    """The fields of a `RunSpec` that this approach reads: of model, method, prompt, readout, optimizer, strategy and
    baseline."""
    ignores: ClassVar[frozenset[str]]
    """Other fields of a `RunSpec` that have no effect on it; giving one on the command line is an error."""
    spec: RunSpec
    kept_in: ClassVar[str]
    """Name of the subfolder of the run folder that `save` writes in the end, e.g. "adapter"."""

    def __init__(self, spec: RunSpec, context: TaskContext) -> None: ...

    @property
    def name(self) -> str:
        """Its name in tables: the method, the strategy, the baseline."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences printed beside its figures, e.g. that weights are random; known after `load`."""
        ...

    @property
    def plannable(self) -> bool:
        """Whether a plan can estimate its memory and time: it runs a model here, so that fake tensors can too."""
        ...

    @property
    def device(self) -> str:
        """The type of the device that it computes on: "cpu", "cuda", "mps"."""
        ...

    @property
    def trainable_parameters(self) -> int | None:
        """Number of trained scalars, known after `load`; None: it has no parameters to count."""
        ...

    @property
    def total_parameters(self) -> int | None:
        """Number of scalars of all parameters, known after `load`; None: it has no parameters to count."""
        ...

    @property
    def cut_tokens(self) -> Mapping[str, int]:
        """Example id -> tokens of its text that were cut, of the last `fit` or `predict`; only what was cut."""
        ...

    @property
    def cut_limit(self) -> tuple[str, int]:
        """What messages call the option for whose sake texts are cut, and its value in tokens."""
        ...

    @property
    def fit_figures(self) -> FitFigures:
        """What it measured of its fitting so far, also after `fit` was interrupted."""
        ...

    def prepare(self, on_phase: Callable[[str], None]) -> None:
        """Do what must come before the run folder exists: check the spec, download and convert the model.

        Args:
            on_phase: receives a line such as "preparing NAME" when a long phase begins.

        Raises:
            SemtuneError: the spec or the model is at fault.
        """
        ...

    def load(self) -> None:
        """Load what `fit`, `restore` and `predict` need (weights, tokenizer) into memory. Raises SemtuneError."""
        ...

    def fit(self, train: Sequence[Example], dev: Sequence[Example], watch: FitWatch) -> None:
        """Learn from `train`, choose epoch and threshold on `dev`; afterwards the best weights are in place.

        Raises:
            DivergedError: a loss or a gradient norm is not finite. SemtuneError: the data or an option is at fault.
        """
        ...

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`; `progress` receives how many were done since its last call."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was fitted to `folder`, which may not exist yet; also called after an interrupted `fit`."""
        ...

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote, after `load`. Raises ModelError."""
        ...

    def write_extras(self, folder: Path, split: str) -> None:
        """Add to the run folder what a reader may want beside the predictions of `split`, such as transcripts.

        Called after the `predict` of that split, or after a `fit` that has predicted dev.
        """
        ...


class Baseline(Protocol):
    """A simple approach without a language model. Constructed as `BaselineClass(context)`, context a TaskContext."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that the baseline can predict."""

    def __init__(self, context: TaskContext) -> None: ...

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Learn from `train`; a baseline may choose its own options on `dev`."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was fitted into `folder`, which exists."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...
