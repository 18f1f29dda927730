"""Running a study: baselines first, then the grid, `study.json` rewritten after every run so that nothing is lost."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.contracts import Launcher, Task
from semtune.errors import OptionError, OutputError, SemtuneError
from semtune.measure.environment import environment
from semtune.records import Example, RunResult, RunSpec, TargetSpace, to_plain
from semtune.registry import BASELINES, TASKS
from semtune.runs.folder import DATA, RunFolder, read_result, write_json
from semtune.specs import check_writable, read_spec, resolve, with_absolute_model
from semtune.specs.serves import KIND_WORDS, check_combination
from semtune.specs.trust import without_trust
from semtune.study.grid import StudySpec
from semtune.study.rows import baseline_runs, prompted_runs
from semtune.tasks.label_names import label_notes

FORMAT = 1
SCORED_SPLITS = ("dev", "test")
BASELINE_FIGURES = (
    "status", "reason", "load_seconds", "train_seconds", "predict_seconds", "predict_examples_per_second",
    "runtime_bytes", "peak_bytes",
)  # fmt: skip
"""Fields of a baseline's result that its entry in `study.json` has beside name, scores and note."""


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

    A run that an earlier call finished with the same spec is not repeated, so an interrupted study continues.

    Args:
        command: what the user typed, for the record.
        launcher: starts the runs.
        say: receives one line about each run.
        parallel: maximum number of runs at once. They share the machine, so with more than 1 times do not compare.

    Raises:
        SemtuneError: the study, the data or `out` is at fault; KeyboardInterrupt: the user stopped it. What had
            finished is in `study.json` in either case.
    """
    if parallel < 1:
        raise OptionError(f"--parallel must be at least 1 run, not {parallel}.")
    tuned = study.runs()
    grid = {**tuned, **prompted_runs(study)}
    task: Task = TASKS.get(study.task)(study.task_options)
    splits = {split: task.load(split) for split in ("train", *SCORED_SPLITS)}
    space = TargetSpace(task.target_kind, task.labels)
    for prompt, readout in dict.fromkeys((spec.prompt, spec.readout) for spec in tuned.values()):
        check_combination(prompt, readout, space)
    names = tuple(BASELINES) if study.baselines is None else study.baselines
    notes = {name: _inapplicable(name, task) for name in names}
    baselines = baseline_runs(study, tuple(name for name in names if notes[name] is None))
    _check_folder(out)
    record = _record(study, task, splits, command, parallel)
    jobs = _jobs(baselines, grid, out)
    results: dict[Path, RunResult] = {}

    def write() -> None:
        record["baselines"] = [
            _baseline_entry(name, notes[name], results.get(out / "baselines" / name))
            for name in names
            if notes[name] is not None or out / "baselines" / name in results
        ]
        record["runs"] = [_plain_result(results[out / name], name) for name in grid if out / name in results]
        write_json(out / "study.json", record)

    def finish(job: _Job, result: RunResult) -> None:
        if result.status != "ok":
            say(f"  {result.status.replace('_', ' ')}: {result.reason}")
        results[job.folder] = result
        write()

    write()
    for sentence in (*study.unused(), *label_notes(task.labels)):
        say(f"note: {sentence}")
    say("baselines")
    _run_jobs(jobs, launcher, parallel, say, finish)
    return record


@dataclass(frozen=True)
class _Job:
    """One run of the study: the line that announces it, its spec, its run folder."""

    title: str
    spec: RunSpec
    folder: Path


def _jobs(baselines: Mapping[str, RunSpec], grid: Mapping[str, RunSpec], out: Path) -> list[_Job]:
    """The baselines, then the grid."""
    jobs = [_Job(f"baseline {name}", spec, out / "baselines" / name) for name, spec in baselines.items()]
    for number, (name, spec) in enumerate(grid.items(), start=1):
        jobs.append(_Job(f"run {number} of {len(grid)}: {name}", spec, out / name))
    return jobs


def _run_jobs(
    jobs: Sequence[_Job],
    launcher: Launcher,
    parallel: int,
    say: Callable[[str], None],
    finish: Callable[[_Job, RunResult], None],
) -> None:
    """Run `jobs`, up to `parallel` at once; `finish` records each result.

    Raises KeyboardInterrupt when the user stops the study or one of its runs. The other runs are interrupted then, and
    those that had finished meanwhile are recorded.
    """
    waiting = deque(jobs)
    active: dict[Any, _Job] = {}
    try:
        while waiting or active:
            while waiting and len(active) < parallel:
                job = waiting.popleft()
                result = finished(job.spec, job.folder)
                if result is None:
                    say(job.title)
                elif job.spec.approach != "baseline":  # those are many and quick
                    say(f"{job.title} (kept from before)")
                if result is None:
                    active[launcher.submit(job.spec, job.folder)] = job
                else:
                    finish(job, result)
            if active:
                handle, result = launcher.wait(list(active))
                if result.status == "interrupted":
                    active.pop(handle)
                    raise KeyboardInterrupt
                finish(active.pop(handle), result)
    except BaseException:
        for handle, result in launcher.interrupt(list(active)):
            if result.status != "interrupted":
                finish(active[handle], result)
        raise


def finished(spec: RunSpec, folder: Path) -> RunResult | None:
    """The result of an earlier run of the same spec in `folder`, if its status is "ok"; None: it must be run."""
    paths = RunFolder(folder)
    if not paths.finished():
        return None
    try:
        result = read_result(paths.result)
        return result if result.status == "ok" and resolve(read_spec(paths.spec)) == with_absolute_model(spec) else None
    except SemtuneError:
        return None


def _check_folder(out: Path) -> None:
    """Raises OutputError for a folder that contains something else, or cannot be written."""
    occupied = out.exists() and (not out.is_dir() or any(child.name != DATA for child in out.iterdir()))
    if occupied and not (out / "study.json").exists():
        raise OutputError(f"{out} holds something that is not a study; choose an empty folder with --out.")
    check_writable(out)


def _record(
    study: StudySpec, task: Task, splits: Mapping[str, list[Example]], command: str, parallel: int
) -> dict[str, Any]:
    """The content of `study.json` before the first run."""
    shared = f"up to {parallel} runs were under way at once: their seconds depend on each other"
    return {
        "format": FORMAT,
        "task": task.name,
        "answer": task.target_kind,
        "metrics": to_plain(task.metrics),
        "labels": list(task.labels),
        "task_notes": [*task.notes, *label_notes(task.labels), *study.unused(), *([shared] if parallel > 1 else [])],
        "command": command,
        "spec": without_trust(to_plain(study)),
        "environment": environment(),
        "runs": [],
        "baselines": [],
        "leaderboard": to_plain(task.leaderboard),
        "unlabelled_splits": [split for split in SCORED_SPLITS if _unlabelled(splits[split])],
    }


def _plain_result(result: RunResult, name: str) -> dict[str, Any]:
    return {**to_plain(result), "out": name}


def _unlabelled(examples: Sequence[Example]) -> bool:
    return bool(examples) and any(e.target is None for e in examples)


def _inapplicable(name: str, task: Task) -> str | None:
    """Why a baseline does not apply to the task; None: it does."""
    kinds = BASELINES.get(name).target_kinds
    if task.target_kind in kinds:
        return None
    return f"it needs a task with {' or '.join(words for kind, words in KIND_WORDS.items() if kind in kinds)}"


def _baseline_entry(name: str, note: str | None, result: RunResult | None) -> dict[str, Any]:
    """A baseline in `study.json`: name, scores and note, and the figures of its run where it had one."""
    if result is None:
        return {"name": name, "scores": {}, "note": note}
    plain = to_plain(dataclasses.replace(result, scores=result.scores if result.status == "ok" else {}))
    figures = {field: plain[field] for field in BASELINE_FIGURES}
    failure = None if result.status == "ok" else f"{result.status.replace('_', ' ')}: {result.reason}"
    return {"name": name, "scores": plain["scores"], "note": failure, **figures}
