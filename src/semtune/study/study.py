"""Running a study: baselines first, then the grid, `study.json` rewritten after every run so that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semtune.contracts import Task
from semtune.errors import OutputError
from semtune.measure.environment import environment
from semtune.records import Example, RunResult, Scores, to_plain
from semtune.registry import BASELINES, TASKS
from semtune.runs.folder import DATA, write_json
from semtune.specs.resolve import check_writable
from semtune.study.grid import StudySpec
from semtune.study.launch import Launcher, finished

FORMAT = 1
SCORED_SPLITS = ("dev", "test")


def run_study(
    study: StudySpec, out: Path, command: str, launcher: Launcher, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run what is not there yet and write `out/study.json`; returns what it holds.

    A run that an earlier call finished with the same spec is kept, so an interrupted study goes on where it stopped.

    Args:
        command: what the user typed, for the record.
        say: receives one line about each run.

    Raises:
        SemtuneError: the study, the data or `out` is at fault; KeyboardInterrupt: the user stopped it. What had
            finished is in `study.json` in either case.
    """
    grid = study.runs()
    task: Task = TASKS.get(study.task)(study.task_options)
    splits = {split: task.load(split) for split in ("train", *SCORED_SPLITS)}
    occupied = out.exists() and (not out.is_dir() or any(child.name != DATA for child in out.iterdir()))
    if occupied and not (out / "study.json").exists():
        raise OutputError(f"{out} holds something that is not a study; choose an empty folder with --out.")
    check_writable(out)
    record: dict[str, Any] = {
        "format": FORMAT,
        "task": task.name,
        "answer": task.answer,
        "labels": list(task.labels),
        "task_notes": list(task.notes),
        "command": command,
        "spec": to_plain(study),
        "environment": environment(),
        "runs": [],
        "baselines": [],
        "leaderboard": to_plain(task.leaderboard),
        "unlabelled_splits": [split for split in SCORED_SPLITS if _unlabelled(splits[split])],
    }
    write_json(out / "study.json", record)
    say("baselines")
    record["baselines"] = [_baseline(name, task, splits) for name in BASELINES]
    for number, (name, spec) in enumerate(grid.items(), start=1):
        result = finished(spec, out / name)
        say(f"run {number} of {len(grid)}: {name}" + (" (kept from before)" if result else ""))
        if result is None:
            result = launcher.run(spec, out / name)
        if result.status != "ok":
            say(f"  {result.status.replace('_', ' ')}: {result.reason}")
        record["runs"].append(_plain_result(result, name))
        write_json(out / "study.json", record)
    return record


def _plain_result(result: RunResult, name: str) -> dict[str, Any]:
    return {**to_plain(result), "out": name}


def _unlabelled(examples: Sequence[Example]) -> bool:
    return bool(examples) and any(e.labels is None for e in examples)


def _baseline(name: str, task: Task, splits: Mapping[str, list[Example]]) -> dict[str, Any]:
    """A baseline's scores on the labelled splits; a note instead where it does not apply to the task."""
    baseline_class = BASELINES.get(name)
    if task.answer not in baseline_class.answers:
        return {"name": name, "scores": {}, "note": "it needs a task with sets of labels"}
    baseline = baseline_class(task)
    baseline.fit(splits["train"], splits["dev"])
    scores: dict[str, Scores] = {}
    for split in SCORED_SPLITS:
        if splits[split] and not _unlabelled(splits[split]):
            scores[split] = task.score(splits[split], baseline.predict(splits[split]))
    return {"name": name, "scores": to_plain(scores), "note": None}
