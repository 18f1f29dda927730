"""The search for an option's value before the runs of a study, the learning rate mostly: `sweep.json`.

For every row (model × readout × prompt × method) the values are compared by cross-validation on train and dev: a run
for each fold and seed, whose score is that of its dev part. Successive halving gives values up early (`halving`). Test
is never predicted. The runs go through the study's launcher; their weights are deleted, their figures stay in the file.
"""

from __future__ import annotations

import shutil
import statistics
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semtune.contracts import Launcher, Task
from semtune.errors import SemtuneError
from semtune.records import Example, RunResult, RunSpec, to_plain
from semtune.runs.fingerprints import model_fingerprint
from semtune.runs.folder import RunFolder, read_json, write_json
from semtune.runs.folds import train_and_dev
from semtune.runs.identity import spec_fingerprint
from semtune.runs.watch import SELECTION_SPLIT
from semtune.specs import record_from
from semtune.study.driving import Job, drive
from semtune.study.grid import StudySpec
from semtune.study.halving import Halving, pruner_name
from semtune.study.naming import DIGITS, readable_name
from semtune.study.sweep_values import Candidate, candidates, check_swept, value_of

SWEEP_FILE, SWEEP_FOLDER = "sweep.json", "sweep"
_AXES = ("model", "readout", "prompt", "method")
_LASTING = ("ok", "diverged")
"""Ends of a run that would be the same another time; other ones are tried again by the next call."""


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


@dataclass
class _Trial:
    """One value."""

    candidate: Candidate
    runs: list[FoldRun] = field(default_factory=list)
    outcome: str = "under way"
    """Then "compared", "chosen", "pruned" or "failed"."""

    @property
    def mean(self) -> float | None:
        scores = [run.score for run in self.runs if run.score is not None]
        return statistics.fmean(scores) if scores else None


_Comparison = Generator[RunSpec, FoldRun, None]
"""Gives the spec of each run and is sent how it ended."""


@dataclass
class _Row:
    """One row of the study: its runs but for the seed, and its values."""

    label: str
    specs: list[RunSpec]
    """One for each seed."""
    candidates: list[Candidate]
    trials: list[_Trial] = field(default_factory=list)
    chosen: Candidate | None = None
    ended: bool = False


class Sweep:
    """The search of one study. Constructing it checks everything; `run` runs."""

    def __init__(
        self, study: StudySpec, tuned: Sequence[RunSpec], task: Task, splits: Mapping[str, list[Example]], out: Path
    ) -> None:
        """`tuned`: the study's runs that tune a model, resolved. Raises OptionError, DataError."""
        check_swept(study.sweep, tuned, study.where)
        pruner_name()  # raises where Optuna is missing
        train_and_dev(f"1/{study.sweep_folds}", splits["train"], splits[SELECTION_SPLIT])
        self._study, self._out, self._metric = study, out, task.metrics[0]
        grouped: dict[tuple[Any, ...], list[RunSpec]] = {}
        for spec in tuned:
            grouped.setdefault(_key(spec), []).append(spec)
        varying = [axis for i, axis in enumerate(_AXES) if axis != "method" and len({key[i] for key in grouped}) > 1]
        self._rows = [
            _Row(", ".join([s[0].method, *(getattr(s[0], a) for a in varying)]), s, candidates(s[0], study.sweep))
            for s in grouped.values()
        ]
        self._known: dict[tuple[str, str | None], FoldRun] = {}
        self._models: dict[str, str | None] = {}
        self._data = ""

    def run(self, launcher: Launcher, parallel: int, say: Callable[[str], None], data: str) -> None:
        """Compare the values of every row. `data`: the data's fingerprint. Raises KeyboardInterrupt, OutputError."""
        self._data, self._known = data, self._earlier(data)
        ready: deque[tuple[_Row, _Comparison, FoldRun | None]] = deque()
        ready.extend((row, self._comparison(row), None) for row in self._rows if row.candidates)
        under_way: dict[Path, tuple[_Row, _Comparison]] = {}

        def next_job() -> Job | None:
            while ready:
                row, comparison, ended = ready.popleft()
                try:
                    spec = next(comparison) if ended is None else comparison.send(ended)
                except StopIteration:
                    spec = None
                if ended is not None:  # it stands among the row's trials now
                    self._known.pop(_identity(ended), None)
                if spec is None:
                    row.ended = True
                    self._write()
                    say(f"sweep: {self._sentence(row)}")
                    continue
                known = self._known.get((spec_fingerprint(spec), self._model(spec)))
                if known is not None:
                    ready.appendleft((row, comparison, known))
                    continue
                folder = (
                    self._out
                    / SWEEP_FOLDER
                    / f"{readable_name(spec, with_model=True)}-{spec_fingerprint(spec)[:DIGITS]}"
                )
                under_way[folder] = row, comparison
                title = f"sweep {row.label}: {row.trials[-1].candidate.text}, fold {spec.fold}, seed {spec.seed}"
                return Job(title, spec, folder)
            return None

        def announced() -> Job | None:
            job = next_job()
            if job is not None:
                say(job.title)
            return job

        def on_result(job: Job, result: RunResult) -> None:
            if result.status == "interrupted":
                raise KeyboardInterrupt
            row, comparison = under_way.pop(job.folder)
            ended = _fold_run(job.spec, result, self._model(job.spec))
            if ended.score is None:
                say(f"  {result.status.replace('_', ' ')}: {result.reason}")
            ready.appendleft((row, comparison, ended))
            _drop_weights(job.folder)
            self._known[_identity(ended)] = ended
            self._write()

        drive(launcher, parallel, announced, on_result, data)
        self._known = {}
        self._write()

    def specs(self) -> list[RunSpec]:
        """The study's tuned runs in the order of their rows, with the chosen value of each."""
        return [
            spec if row.chosen is None else replace(row.chosen.spec, seed=spec.seed)
            for row in self._rows
            for spec in row.specs
        ]

    def notes(self) -> list[str]:
        """A sentence about each row."""
        return [self._sentence(row) for row in self._rows]

    def plain(self) -> dict[str, Any]:
        """The content of `sweep.json`."""
        return {
            "metric": self._metric.name,
            "higher_is_better": self._metric.higher_is_better,
            "folds": self._study.sweep_folds,
            "splits": ["train", SELECTION_SPLIT],
            "pruner": pruner_name(),
            "data_fingerprint": self._data,
            "rows": [self._plain_row(row) for row in self._rows],
            "waiting_runs": [to_plain(run) for run in self._known.values()],
        }

    def _plain_row(self, row: _Row) -> dict[str, Any]:
        trials = [
            {"value": t.candidate.value, "outcome": t.outcome, "mean": t.mean, "runs": [to_plain(r) for r in t.runs]}
            for t in row.trials
        ]
        chosen = None if row.chosen is None else row.chosen.value
        axes = {axis: getattr(row.specs[0], axis) for axis in _AXES}
        return {**axes, "label": row.label, "chosen": chosen, "sentence": self._sentence(row), "trials": trials}

    def _comparison(self, row: _Row) -> _Comparison:
        """Try each value, the middle one first, and choose."""
        pairs = _pairs([spec.seed for spec in row.specs], self._study.sweep_folds)
        halving = Halving(len(row.candidates), higher_is_better=self._metric.higher_is_better)
        for index in _middle_first(len(row.candidates)):
            trial, halved = _Trial(row.candidates[index]), halving.begin(index)
            row.trials.append(trial)
            for number, (seed, fold) in enumerate(pairs, start=1):
                trial.runs.append((yield replace(trial.candidate.spec, seed=seed, fold=fold)))
                if trial.runs[-1].score is None or trial.mean is None:
                    trial.outcome = "failed"
                    halved.fail()
                    break
                if number == len(pairs):
                    trial.outcome = "compared"
                    halved.complete(trial.mean)
                elif halved.gives_up(number, trial.mean):
                    trial.outcome = "pruned"
                    break
        compared = [
            (trial.mean, trial) for trial in row.trials if trial.outcome == "compared" and trial.mean is not None
        ]
        if compared:
            best = max(compared, key=lambda pair: self._metric.rank(pair[0]))[1]  # the first of equals
            best.outcome, row.chosen = "chosen", best.candidate

    def _sentence(self, row: _Row) -> str:
        if not row.candidates:
            return f"{row.label} has no option {' or '.join(self._study.sweep)}: nothing was swept for it"
        if not row.ended:
            return f"{row.label}: under way"
        runs = sum(len(trial.runs) for trial in row.trials)
        folds = f"{self._study.sweep_folds}-fold cross-validation on train + dev"
        of = f"{len(row.candidates)} values by {folds}; {runs} runs"
        if row.chosen is not None:
            return f"{row.label}: {row.chosen.text}, chosen among {of}"
        kept = ", ".join(f"{name} {value_of(row.specs[0], name)}" for name in row.candidates[0].value)
        return f"{row.label}: {kept}, as no run of a value ended well among {of}"

    def _model(self, spec: RunSpec) -> str | None:
        """The fingerprint of the files of a run's model."""
        if spec.model not in self._models:
            self._models[spec.model] = model_fingerprint(spec)
        return self._models[spec.model]

    def _write(self) -> None:
        write_json(self._out / SWEEP_FILE, self.plain())

    def _earlier(self, data: str) -> dict[tuple[str, str | None], FoldRun]:
        """The lasting runs in the file of an earlier call on the same data, by what they are of."""
        try:
            plain = read_json(self._out / SWEEP_FILE, "a sweep's record")
            if plain["data_fingerprint"] != data:
                return {}
            rows = [run for row in plain["rows"] for trial in row["trials"] for run in trial["runs"]]
            found = [record_from(FoldRun, run, SWEEP_FILE) for run in (*rows, *plain["waiting_runs"])]
        except (SemtuneError, KeyError, TypeError):
            return {}
        return {_identity(run): run for run in found if run.status in _LASTING}


def _identity(run: FoldRun) -> tuple[str, str | None]:
    return run.spec_fingerprint, run.model_fingerprint


def _key(spec: RunSpec) -> tuple[str, ...]:
    return tuple(getattr(spec, axis) for axis in _AXES)


def _pairs(seeds: Sequence[int], folds: int) -> list[tuple[int, str]]:
    """Every seed with every fold, both of them changing from one pair to the next."""
    return [(seed, f"{(i + turn) % folds + 1}/{folds}") for turn in range(folds) for i, seed in enumerate(seeds)]


def _middle_first(count: int) -> list[int]:
    """0 … count - 1, the middle first, as the best value is mostly there and successive halving gives up the worse."""
    middle = (count - 1) // 2
    return sorted(range(count), key=lambda i: (abs(i - middle), i))


def _fold_run(spec: RunSpec, result: RunResult, model: str | None) -> FoldRun:
    scores = result.scores.get(SELECTION_SPLIT)
    seconds = [result.load_seconds, result.train_seconds, result.predict_seconds]
    return FoldRun(
        fold=str(spec.fold),
        seed=spec.seed,
        status=result.status,
        score=scores.value if scores is not None and result.status == "ok" else None,
        seconds=sum(s for s in seconds if s is not None) if any(s is not None for s in seconds) else None,
        reason=result.reason,
        spec_fingerprint=spec_fingerprint(spec),
        model_fingerprint=model,
    )


def _drop_weights(folder: Path) -> None:
    """Delete what the run has trained; its spec, result and metrics stay."""
    kept = RunFolder.current(folder).kept()
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
