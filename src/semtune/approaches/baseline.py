"""A registered baseline as an approach, so that it is timed, measured and kept like every other row. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from semtune.contracts import FitFigures, FitWatch, TaskContext
from semtune.records import Example, Prediction, RunSpec
from semtune.registry import BASELINES
from semtune.specs.serves import check_serves

_READ = frozenset({"task", "task_options", "approach", "baseline", "fold", "allow_overlap", "trust_remote_code"})
"""The fields of a RunSpec that a baseline or its runner reads."""
_HARMLESS = frozenset({"threads", "device"})
"""Fields without an effect that a user may give to every run of a machine."""


class BaselineApproach:
    """The approach "baseline"; `contracts.Approach`."""

    uses: ClassVar[frozenset[str]] = frozenset({"baseline"})
    ignores: ClassVar[frozenset[str]] = frozenset(f.name for f in fields(RunSpec)) - _READ - _HARMLESS
    plannable: ClassVar[bool] = False
    kept_in: ClassVar[str] = "fitted"
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    fit_figures = FitFigures()
    cut_tokens: ClassVar[Mapping[str, int]] = {}
    """No text is cut."""
    cut_limit: tuple[str, int] = ("", 0)

    def __init__(self, spec: RunSpec, context: TaskContext) -> None:
        self.spec, self.context = spec, context
        self._baseline: Any = None

    @property
    def name(self) -> str:
        """The baseline's."""
        return str(self.spec.baseline)

    def prepare(self, on_phase: Callable[[str], None]) -> None:
        """Refuse a baseline that cannot answer the task's kind of target. Raises OptionError.

        Its libraries come in here, as their memory is the runtime's.
        """
        check_serves(self.context.space.kind, "baseline", self.name, BASELINES.get(self.name).target_kinds)
        self.load()

    def load(self) -> None:
        """Construct the baseline. Raises OptionError."""
        self._baseline = BASELINES.get(self.name)(self.context)

    def fit(self, train: Sequence[Example], dev: Sequence[Example], watch: FitWatch) -> None:
        """Fit the baseline."""
        self._baseline.fit(train, dev)

    def predict(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        predictions: list[Prediction] = self._baseline.predict(examples)
        if progress is not None:
            progress(len(examples))
        return predictions

    def save(self, folder: Path) -> None:
        """Write what the baseline learnt."""
        folder.mkdir(parents=True, exist_ok=True)
        self._baseline.save(folder)

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        self._baseline.load(folder)

    def write_extras(self, folder: Path, split: str) -> None:
        """Nothing beside its predictions."""
