"""Running a study: baselines first, then the grid, `study.json` rewritten after every run so that nothing is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semtune.contracts import Launcher, Task
from semtune.errors import OptionError, OutputError, SemtuneError
from semtune.measure.environment import environment
from semtune.records import Example, Overlap, RunResult, RunSpec, TargetSpace, to_plain
from semtune.registry import BASELINES, TASKS
from semtune.runs.data import checked_overlaps, fingerprint_of
from semtune.runs.folder import DATA, read_result
from semtune.runs.lock import HOLDER, LOCK, locked
from semtune.runs.succession import run_folders
from semtune.runtime.files import check_path
from semtune.specs import check_writable, with_absolute_paths
from semtune.specs.naming import naming
from semtune.specs.serves import KIND_WORDS, check_combination
from semtune.specs.trust import without_trust
from semtune.study.driving import Job, drive
from semtune.study.grid import StudySpec
from semtune.study.kept import Judge, Verdict
from semtune.study.naming import chosen_folder, earlier_name, folder_names, slug
from semtune.study.record import FILE, FORMAT, StudyRecord, check_same_study
from semtune.study.rows import baseline_runs, prompted_runs
from semtune.study.sweep import SWEEP_FILE, SWEEP_FOLDER, Sweep
from semtune.tasks.label_names import label_notes

SCORED_SPLITS = ("dev", "test")


def run_study(
    study: StudySpec,
    out: Path,
    command: str,
    launcher: Launcher,
    say: Callable[[str], None],
    *,
    parallel: int = 1,
) -> dict[str, Any]:
    """Run what `out` does not contain yet and write `out/study.json`; returns its content.

    A run that an earlier call finished with the same spec, data, model and knowledge is not repeated, so an
    interrupted study continues.

    Args:
        command: what the user typed, for the record.
        launcher: starts the runs.
        say: receives one line about each run.
        parallel: maximum number of runs at once. They share the machine, so with more than 1 times do not compare.

    Raises:
        SemtuneError: the study, the data or `out` is at fault; KeyboardInterrupt: the user stopped it. What had
            finished is in `study.json` in either case.
    """
    check_path(out.absolute())
    if parallel < 1:
        raise OptionError(f"--parallel must be at least 1 run, not {parallel}.")
    given, study = study, _with_absolute_paths(study)  # so that the study and its runs say the same of the data
    tuned = list(study.runs().values())
    prompted = list(prompted_runs(study).values())
    with naming(study.file):
        task: Task = TASKS.get(study.task)(study.task_options)
    splits = {split: task.load(split) for split in ("train", *SCORED_SPLITS)}
    shared = checked_overlaps(task, splits, allowed=bool(study.shared.get("allow_overlap")))
    space = TargetSpace(task.target_kind, task.labels)
    for prompt, readout in dict.fromkeys((spec.prompt, spec.readout) for spec in tuned):
        check_combination(prompt, readout, space)
    names = tuple(BASELINES) if study.baselines is None else study.baselines
    notes = {name: _inapplicable(name, task) for name in names}
    baselines = baseline_runs(study, tuple(name for name in names if notes[name] is None))
    with naming(study.file):
        sweep = Sweep(study, [*tuned, *prompted], task, splits, out) if study.sweep else None
    _check_folder(out)
    with locked(out):
        check_writable(out)
        check_same_study(out, study.task)
        fingerprint = fingerprint_of(task, splits)
        if sweep is not None:
            sweep.run(launcher, parallel, say, fingerprint)
        specs = [*tuned, *prompted] if sweep is None else sweep.specs()
        grid = dict(zip(folder_names(specs, with_model=study.with_model), specs, strict=True))
        jobs = _jobs(baselines, grid, out, with_model=study.with_model)
        plain = _record(given, task, splits, shared, command, parallel)
        if sweep is not None:
            plain |= {"sweep": sweep.plain(), "task_notes": [*plain["task_notes"], *sweep.notes()]}
        record = StudyRecord(out, plain, jobs, notes)
        judge = Judge(fingerprint, record.plain["environment"], task.metrics)
        verdicts = {job.folder: judge.verdict(job.spec, job.folder) for job in jobs}
        runs = _Runs(out, jobs, verdicts, record, say, fingerprint)
        record.write()
        of_data = (*task.data_notes, *label_notes(task.labels), *(overlap.sentence() for overlap in shared))
        for sentence in (*study.unused(), *of_data):
            say(f"note: {sentence}")
        say("baselines")
        runs.run(launcher, parallel)
        record.write(whole=True)
    return record.plain


def _with_absolute_paths(study: StudySpec) -> StudySpec:
    """`study` with the absolute paths of its data."""
    spec = with_absolute_paths(RunSpec(study.task, task_options=study.task_options))
    return replace(study, task_options=spec.task_options)


def _jobs(baselines: Mapping[str, RunSpec], grid: Mapping[str, RunSpec], out: Path, *, with_model: bool) -> list[Job]:
    """The baselines, then the grid, each with a folder of its own."""
    jobs: list[Job] = []
    for name, spec in baselines.items():
        folder = chosen_folder(spec, out / "baselines", slug(name), name, [job.folder for job in jobs])
        jobs.append(Job(f"baseline {name}", spec, folder))
    for number, (name, spec) in enumerate(grid.items(), start=1):
        earlier = earlier_name(spec, with_model=with_model)
        folder = chosen_folder(spec, out, name, earlier, [job.folder for job in jobs])
        jobs.append(Job(f"run {number} of {len(grid)}: {folder.name}", spec, folder))
    return jobs


@dataclass
class _Runs:
    """The runs of a study: those that stand, those under way, those to come."""

    out: Path
    jobs: Sequence[Job]
    verdicts: Mapping[Path, Verdict]
    record: StudyRecord
    say: Callable[[str], None]
    data: str
    """The fingerprint of the data, whose notes have been said."""

    def __post_init__(self) -> None:
        for job in self.jobs:
            result = self.verdicts[job.folder].result
            if result is not None:
                self.record.add(job, result, job.folder.name)

    def run(self, launcher: Launcher, parallel: int) -> None:
        """Run what does not stand, up to `parallel` at once, and record each result.

        Raises KeyboardInterrupt when the user stops the study or one of its runs. The other runs are interrupted then,
        and those that had finished meanwhile are recorded.
        """
        waiting = deque(self.jobs)

        def next_job() -> Job | None:
            while waiting:
                if self._announce(job := waiting.popleft()):
                    return job
            return None

        drive(launcher, parallel, next_job, self._finish, self.data)

    def _announce(self, job: Job) -> bool:
        """Say what happens with a job; whether it must be run."""
        verdict = self.verdicts[job.folder]
        if verdict.result is None:
            self.say(job.title if verdict.reason is None else f"{job.title} (again: {verdict.reason})")
        elif job.spec.approach != "baseline":  # those are many and quick
            remark = f": {verdict.result.kept_from}" if verdict.result.kept_from else ""
            self.say(f"{job.title} (kept from before{remark})")
        return verdict.result is None

    def _finish(self, job: Job, result: RunResult) -> None:
        """Record the checked result of a run that has ended. Raises KeyboardInterrupt for an interrupted one."""
        if result.status == "interrupted":
            raise KeyboardInterrupt
        if result.status != "ok":
            self.say(f"  {result.status.replace('_', ' ')}: {result.reason}")
        self.record.add(job, result, _place(self.out, job, result))
        self.record.write()


def _place(out: Path, job: Job, result: RunResult) -> str | None:
    """Where the files of a run are, from `out`; None: in its folder are those of another run alone."""
    others = False
    current, *successors = run_folders(job.folder)
    for paths, place in ((current, job.folder), *((paths, paths.path) for paths in successors)):
        if not paths.result.exists():
            continue
        try:
            if read_result(paths.result).run_id == result.run_id:
                return place.relative_to(out).as_posix()
        except SemtuneError:
            pass
        others = True
    return None if others else job.folder.name


def _check_folder(out: Path) -> None:
    """Raises OutputError for a folder that contains something else."""
    own = (DATA, LOCK, HOLDER, SWEEP_FILE, SWEEP_FOLDER)
    occupied = out.exists() and (not out.is_dir() or any(child.name not in own for child in out.iterdir()))
    if occupied and not (out / FILE).exists():
        raise OutputError(f"{out} holds something that is not a study; choose an empty folder with --out.")


def _record(
    study: StudySpec,
    task: Task,
    splits: Mapping[str, list[Example]],
    shared: Sequence[Overlap],
    command: str,
    parallel: int,
) -> dict[str, Any]:
    """The content of `study.json` but its runs and baselines."""
    at_once = f"up to {parallel} runs were under way at once: their seconds depend on each other"
    overlap_notes = [overlap.sentence() for overlap in shared]
    return {
        "format": FORMAT,
        "task": task.name,
        "answer": task.target_kind,
        "metrics": to_plain(task.metrics),
        "labels": list(task.labels),
        "task_notes": [
            *task.notes,
            *label_notes(task.labels),
            *overlap_notes,
            *study.unused(),
            *([at_once] if parallel > 1 else []),
        ],
        "overlaps": to_plain(shared),
        "command": command,
        "spec": without_trust(to_plain(study)),
        "environment": environment(),
        "runs": [],
        "baselines": [],
        "leaderboard": to_plain(task.leaderboard),
        "unlabelled_splits": [split for split in SCORED_SPLITS if _unlabelled(splits[split])],
    }


def _unlabelled(examples: Sequence[Example]) -> bool:
    return bool(examples) and any(e.target is None for e in examples)


def _inapplicable(name: str, task: Task) -> str | None:
    """Why a baseline does not apply to the task; None: it does."""
    kinds = BASELINES.get(name).target_kinds
    if task.target_kind in kinds:
        return None
    return f"it needs a task with {' or '.join(words for kind, words in KIND_WORDS.items() if kind in kinds)}"
