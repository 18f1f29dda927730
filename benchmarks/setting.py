"""What the bench's commands share: where the data is, the work folder that all contestants read, how many threads."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import launch
from semtune.runtime.processor import ISA_VARIABLE, LEVELS, limit_libraries

DATA = launch.REPOSITORY.parent / "shared" / "data" / "semeval2021-task6"
PRACTICE_NOTE = (
    "no SemEval-2021 Task 6 data (--data-dir, SEMTUNE_DATA): this is the practice set, whose texts have other lengths"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of both commands."""
    add_common_options(parser)
    parser.add_argument("--out", help="folder of the record (default: benchmarks/records/<date>-…)")
    parser.add_argument("--json", action="store_true", help="only the JSON object on standard output")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options of those that write no record too."""
    parser.add_argument("--data-dir", help="folder with the SemEval-2021 Task 6 files (default: SEMTUNE_DATA)")
    parser.add_argument(
        "--isa", action=Limit, choices=LEVELS, help="no instructions above this level, for semtune and peers alike"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="of every contestant (default: all cores)")


class Limit(argparse.Action):
    """Sets what limits the instructions of every process that is started from here on, peers' too."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        os.environ[ISA_VARIABLE] = values
        limit_libraries(os.environ)
        setattr(namespace, self.dest, values)


def cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def data_folder(given: str | None) -> str | None:
    """The SemEval files: as given, SEMTUNE_DATA, or beside the repository; None: the practice set."""
    for folder in (given, os.environ.get("SEMTUNE_DATA")):
        if folder:
            return str(Path(folder).resolve())
    return str(DATA) if DATA.is_dir() else None


def prepare(work: Path, threads: int, data_dir: str | None, adapter_steps: int) -> dict[str, Any]:
    """Fill `work`; what the record says about the data. {"error": …} where that fails."""
    given = {"work": str(work), "threads": threads, "data_dir": data_dir, "adapter_steps": adapter_steps}
    command = [sys.executable, "-m", "benchmarks.contestants.prepare", json.dumps(given)]
    result = launch.run(command, threads, launch.TIMEOUT_SECONDS, offline=False)
    if data_dir is None and "error" not in result:
        result["notes"] = [PRACTICE_NOTE, *result["notes"]]
    return result


def say(text: str) -> None:
    """Progress, to standard error."""
    print(text, file=sys.stderr, flush=True)
