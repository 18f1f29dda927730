"""The search for an option's value before the runs of a study, such as the learning rate: `sweep.json`.

For every row but the baselines the values are compared by cross-validation on train and dev: a run for each fold and
seed, whose score is that of its dev part; a prompted model has the rest as its training texts. Successive halving gives
values up early (`halving`). Test is never predicted. The runs go through the study's launcher; their weights are
deleted, their figures stay in the file.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semtune.contracts import Launcher, Task, TaskContext
from semtune.errors import SemtuneError
from semtune.records import Example, RunResult, RunSpec, to_plain
from semtune.records.checking import check_record, check_value
from semtune.registry import APPROACHES
from semtune.runs.fingerprints import model_fingerprint
from semtune.runs.folder import RunFolder, read_json, write_json
from semtune.runs.folds import group_notes, shared_texts_notes
from semtune.runs.identity import spec_fingerprint
from semtune.runs.watch import SELECTION_SPLIT
from semtune.specs import record_from
from semtune.study.driving import Job, drive
from semtune.study.grid import StudySpec
from semtune.study.halving import Halving, pruner_name
from semtune.study.naming import DIGITS, readable_name
from semtune.study.sweep_order import middle_first, pairs
from semtune.study.sweep_rows import FoldRun, Identity, SweptRow, Trial, fold_run, identity_of, rows_of
from semtune.study.sweep_values import check_swept

SWEEP_FILE, SWEEP_FOLDER = "sweep.json", "sweep"
_LASTING = ("ok", "diverged")
"""Ends of a run that would be the same another time; other ones are tried again by the next call."""
_Comparison = Generator[RunSpec, FoldRun, None]
"""Gives the spec of each run and is sent how it ended."""


class Sweep:
    """The search of one study. Constructing it checks everything; `run` runs."""

    def __init__(
        self, study: StudySpec, runs: Sequence[RunSpec], task: Task, splits: Mapping[str, list[Example]], out: Path
    ) -> None:
        """`runs`: the study's runs but baselines, resolved. Raises OptionError, DataError."""
        check_swept(study.sweep, runs, study.where)
        pruner_name()  # raises where Optuna is missing
        shared = shared_texts_notes(splits["train"], splits[SELECTION_SPLIT], study.sweep_folds)
        self._data_notes = (*shared, *group_notes(task))
        self._study, self._out, self._metric = study, out, task.metrics[0]
        context = TaskContext.of(task)
        self._rows = rows_of(runs, study.sweep, lambda spec: APPROACHES.get(spec.approach)(spec, context))
        self._known: dict[Identity, FoldRun] = {}
        self._models: dict[tuple[str, str | None, str | None], str | None] = {}
        self._data = ""

    def run(self, launcher: Launcher, parallel: int, say: Callable[[str], None], data: str) -> None:
        """Compare the values of every row. `data`: the data's fingerprint. Raises KeyboardInterrupt, OutputError."""
        self._data, self._known = data, self._earlier(data)
        for note in self._data_notes:
            say(f"note: {note}")
        ready: deque[tuple[SweptRow, _Comparison, FoldRun | None]] = deque()
        ready.extend((row, self._comparison(row), None) for row in self._rows if row.candidates)
        under_way: dict[Path, tuple[SweptRow, _Comparison]] = {}

        def next_job() -> Job | None:
            while ready:
                row, comparison, ended = ready.popleft()
                try:
                    spec = next(comparison) if ended is None else comparison.send(ended)
                except StopIteration:
                    spec = None
                if ended is not None:  # it stands among the row's trials now
                    self._known.pop(ended.identity, None)
                if spec is None:
                    row.ended = True
                    self._write()
                    say(f"sweep: {self._sentence(row)}")
                    continue
                known = self._known.get(identity_of(spec, self._model(spec)))
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
            ended = fold_run(job.spec, result, self._model(job.spec))
            if ended.score is None:
                say(f"  {result.status.replace('_', ' ')}: {result.reason}")
            ready.appendleft((row, comparison, ended))
            _drop_weights(job.folder)
            self._known[ended.identity] = ended
            self._write()

        drive(launcher, parallel, announced, on_result, data)
        self._known = {}
        self._write()

    def specs(self) -> list[RunSpec]:
        """The runs in the order of their rows, with the chosen value of each."""
        return [
            spec if row.chosen is None else replace(row.chosen.spec, seed=spec.seed)
            for row in self._rows
            for spec in row.specs
        ]

    def notes(self) -> list[str]:
        """Sentences about what folds share, and one about each row."""
        return [*self._data_notes, *(self._sentence(row) for row in self._rows)]

    def plain(self) -> dict[str, Any]:
        """The content of `sweep.json`."""
        return {
            "metric": self._metric.name,
            "higher_is_better": self._metric.higher_is_better,
            "folds": self._study.sweep_folds,
            "splits": ["train", SELECTION_SPLIT],
            "pruner": pruner_name(),
            "data_fingerprint": self._data,
            "rows": [row.plain(self._sentence(row)) for row in self._rows],
            "waiting_runs": [to_plain(run) for run in self._known.values()],
        }

    def _comparison(self, row: SweptRow) -> _Comparison:
        """Try each value, the middle one first, and choose."""
        wanted = pairs([spec.seed for spec in row.specs], self._study.sweep_folds)
        halving = Halving(len(row.candidates), higher_is_better=self._metric.higher_is_better)
        for index in middle_first(range(len(row.candidates))):
            trial, halved = Trial(row.candidates[index]), halving.begin(index)
            row.trials.append(trial)
            for number, (seed, fold) in enumerate(wanted, start=1):
                trial.runs.append((yield replace(trial.candidate.spec, seed=seed, fold=fold)))
                if trial.runs[-1].score is None or trial.mean is None:
                    trial.outcome = "failed"
                    halved.fail()
                    break
                if number == len(wanted):
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

    def _sentence(self, row: SweptRow) -> str:
        return row.sentence(list(self._study.sweep), self._study.sweep_folds)

    def _model(self, spec: RunSpec) -> str | None:
        """The fingerprint of the files of a run's model."""
        key = spec.model, spec.revision, spec.endpoint
        if key not in self._models:
            self._models[key] = model_fingerprint(spec)
        return self._models[key]

    def _write(self) -> None:
        write_json(self._out / SWEEP_FILE, self.plain())

    def _earlier(self, data: str) -> dict[Identity, FoldRun]:
        """The lasting runs in the file of an earlier call on the same data, by what they are of."""
        try:
            plain = read_json(self._out / SWEEP_FILE, "a sweep's record")
            if plain["data_fingerprint"] != data:
                return {}
            rows = [run for row in plain["rows"] for trial in row["trials"] for run in trial["runs"]]
            found = [self._fold_run(run) for run in (*rows, *plain["waiting_runs"])]
        except (SemtuneError, KeyError, TypeError):
            return {}
        return {run.identity: run for run in found if run.status in _LASTING}

    def _fold_run(self, plain: Any) -> FoldRun:
        """A run from its JSON form. Raises SemtuneError, also for a score that the metric cannot have."""
        check_record(FoldRun, plain, SWEEP_FILE)
        check_value(self._metric.hint | None, plain["score"], SWEEP_FILE, "score")
        return record_from(FoldRun, plain, SWEEP_FILE)


def _drop_weights(folder: Path) -> None:
    """Delete what the run has trained; its spec, result and metrics stay."""
    kept = RunFolder.current(folder).kept()
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
