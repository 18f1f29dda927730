"""A bench's record: raw results as they come, then environment, figures and tables. It does not name the machine."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.launch import REPOSITORY, scrub
from benchmarks.ratios import Run
from semtune.runtime.processor import instruction_level

RECORDS = REPOSITORY / "benchmarks" / "records"
_LEFT_OUT = ("answers",)
"""Of raw results: long, and made of a data set that is not ours to publish; how many agree is in the summary."""


def new_folder(given: str | None, name: str) -> Path:
    """The folder `given`, or <date>-<name>-<level of instructions>; never one that holds a record already."""
    if given is None:
        folder = RECORDS / f"{datetime.datetime.now(datetime.UTC).date().isoformat()}-{name}-{instruction_level()}"
    else:
        folder = Path(given).resolve()
    candidate, number = folder, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    candidate.mkdir(parents=True, exist_ok=True)
    return candidate


def add_run(folder: Path, run: Run) -> None:
    """Append one line to runs.jsonl, so that a bench that is stopped has lost nothing."""
    row = dataclasses.asdict(run)
    row["result"] = {key: value for key, value in run.result.items() if key not in _LEFT_OUT}
    with (folder / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_json(folder: Path, name: str, value: Mapping[str, Any]) -> None:
    """An indented JSON file."""
    (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shown(folder: Path) -> str:
    """The folder as it may be written down: within the repository, or its name alone."""
    inside = folder.is_relative_to(REPOSITORY)
    return str(folder.relative_to(REPOSITORY)) if inside else scrub(folder.name)


def revision() -> str | None:
    """The commit that was measured, "+" behind it where the code was changed since; None outside a git repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "src", "benchmarks/contestants") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def failures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Who failed, in which rounds, and why."""
    found: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        if "error" in run.result:
            found.setdefault((run.contestant, str(run.result["error"])), []).append(run.round + 1)
    return [{"contestant": who, "rounds": rounds, "reason": why} for (who, why), rounds in found.items()]
