"""The rows of a sweep: what each chooses among, its runs so far, what was chosen, and the sentence that says so."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semtune.records import RunResult, RunSpec, to_plain
from semtune.registry import APPROACHES
from semtune.runs.fingerprints import given_files
from semtune.runs.identity import spec_fingerprint
from semtune.runs.outcome import answer_of
from semtune.runs.watch import SELECTION_SPLIT
from semtune.study.sweep_values import Candidate, Check, Choice, choices, value_of, written

NAMES = ("method", "strategy")
"""Fields of a run spec one of which is a row's name."""
AXES = ("model", "readout", "prompt", *NAMES)
Identity = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class FoldRun:
    """One run of a value: one fold with one seed."""

    fold: str
    seed: int
    status: str
    score: float | None
    """The primary metric on the fold's dev part; None: the run did not end well."""
    seconds: float | None
    """Loading, training and predicting."""
    reason: str | None
    spec_fingerprint: str
    model_fingerprint: str | None
    knowledge_fingerprint: str | None = None

    @property
    def identity(self) -> Identity:
        """What it is of, see `identity_of`."""
        return self.spec_fingerprint, self.model_fingerprint, self.knowledge_fingerprint


def identity_of(spec: RunSpec, model: str | None) -> Identity:
    """The fingerprints of a spec, of its model's files (`model`) and of its knowledge."""
    return spec_fingerprint(spec), model, given_files(spec).get("knowledge")


def fold_run(spec: RunSpec, result: RunResult, model: str | None) -> FoldRun:
    """How the run of `spec` ended; `model`: the fingerprint of its model's files."""
    scores = result.scores.get(SELECTION_SPLIT)
    seconds = [result.load_seconds, result.train_seconds, result.predict_seconds]
    identity = identity_of(spec, model)
    return FoldRun(
        fold=str(spec.fold),
        seed=spec.seed,
        status=result.status,
        score=scores.value if scores is not None and result.status == "ok" else None,
        seconds=sum(s for s in seconds if s is not None) if any(s is not None for s in seconds) else None,
        reason=result.reason,
        spec_fingerprint=identity[0],
        model_fingerprint=identity[1],
        knowledge_fingerprint=identity[2],
    )


@dataclass
class Trial:
    """One value."""

    candidate: Candidate
    runs: list[FoldRun] = field(default_factory=list)
    outcome: str = "under way"
    """Then "compared", "chosen", "pruned" or "failed"."""

    @property
    def mean(self) -> float | None:
        """Of the scores so far."""
        scores = [run.score for run in self.runs if run.score is not None]
        return statistics.fmean(scores) if scores else None


@dataclass
class SweptRow:
    """One row of the study: its runs but for the seed, and its values."""

    label: str
    specs: list[RunSpec]
    """One for each seed."""
    choice: Choice
    trials: list[Trial] = field(default_factory=list)
    chosen: Candidate | None = None
    ended: bool = False

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The values; () where the row has nothing of the sweep."""
        return self.choice.candidates

    def sentence(self, swept: Sequence[str], folds: int) -> str:
        """What was chosen, among how many values, by how many runs."""
        if not self.candidates:
            lacks = "can have fewer than two values of" if self.choice.has_options else "has no option"
            return f"{self.label} {lacks} {' or '.join(swept)}: nothing was swept for it"
        if not self.ended:
            return f"{self.label}: under way"
        runs = sum(len(trial.runs) for trial in self.trials)
        of = f"{len(self.candidates)} values by {folds}-fold cross-validation on train + dev; {runs} runs"
        if self.choice.left_out:
            of += f"; left out, as it does not have them: {', '.join(self.choice.left_out)}"
        if self.chosen is not None:
            return f"{self.label}: {self.chosen.text}, chosen among {of}"
        kept = ", ".join(f"{name} {written(value_of(self.specs[0], name))}" for name in self.candidates[0].value)
        return f"{self.label}: {kept}, as no run of a value ended well among {of}"

    def plain(self, sentence: str) -> dict[str, Any]:
        """The row in `sweep.json`. Its axes are as they are in the results of its runs."""
        trials = [
            {"value": t.candidate.value, "outcome": t.outcome, "mean": t.mean, "runs": [to_plain(r) for r in t.runs]}
            for t in self.trials
        ]
        spec = self.specs[0] if self.chosen is None else self.chosen.spec
        return {
            **axes_of(spec),
            "label": self.label,
            "chosen": None if self.chosen is None else self.chosen.value,
            "candidates": len(self.candidates),
            "left_out": list(self.choice.left_out),
            "sentence": sentence,
            "trials": trials,
        }


def axes_of(spec: RunSpec) -> dict[str, str]:
    """What tells a row from others; "" for what its approach does not use."""
    uses = APPROACHES.get(spec.approach).uses
    return {**{axis: getattr(spec, axis) if axis in uses else "" for axis in AXES}, "answer": answer_of(spec)}


def rows_of(specs: Sequence[RunSpec], sweep: Mapping[str, Sequence[Any]], check: Check) -> list[SweptRow]:
    """The rows of a study's resolved runs, in their order. Raises SemtuneError as `choices` does."""
    grouped: dict[tuple[Any, ...], list[RunSpec]] = {}
    for spec in specs:
        grouped.setdefault((*axes_of(spec).values(), spec.endpoint), []).append(spec)
    firsts = [group[0] for group in grouped.values()]
    axes = [axes_of(spec) for spec in firsts]
    varying = [axis for axis in axes[0] if axis not in NAMES and len({a[axis] for a in axes} - {""}) > 1]
    labels = [", ".join(filter(None, [a["method"] or a["strategy"], *(a[axis] for axis in varying)])) for a in axes]
    found = choices(firsts, sweep, check)
    return [SweptRow(*row) for row in zip(labels, grouped.values(), found, strict=True)]
