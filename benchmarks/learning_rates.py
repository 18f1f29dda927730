"""Learning rates: `python benchmarks/learning_rates.py choose study --out FOLDER`, in one machine with one large GPU.

- choose: every method at five rates with three seeds on cross-validated train + dev; none of these runs predicts test.
- study: every method with its chosen rate and three seeds, scored on test.

Runs are done by several worker processes that share the device, so seconds are of a shared device. Each is a line of
`FOLDER/rows.jsonl` at once, a failed one with its reason, and another call goes on where one was stopped. Afterwards
`summary.json` and `tables.txt` are written from the lines. A folder begun on one device can be gone on with on another:
every line names its own, and `environment-DEVICE.json` says what it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import rate_runs, rate_summary, rates, worker_pool
from benchmarks.rates import CHOOSE, STUDY, Job
from semtune.study.sweep_order import pairs

ROWS, SETTING = "rows.jsonl", "setting.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 also where single runs failed."""
    options = _parser().parse_args(arguments)
    out = Path(options.out)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    setting = rate_runs.Setting(
        options.task, options.model, options.device, options.threads or max(1, cores // options.workers),
        str(out / "runs"), options.limit_examples, json.loads(options.options),
        options.plans,
    )  # fmt: skip
    grid = _grid(options.methods, options.rates)
    runs = pairs(options.seeds, options.folds, crossed=options.crossed)
    _check_same(out, setting, {"seeds": options.seeds, "folds": options.folds})
    rows = read_rows(out)
    if "summary" not in options.sections:
        write_environment(out, setting, options.workers)
        _run(options, setting, grid, runs, rows, out)
    rate_summary.write(out, rows, grid, setting.task)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=[CHOOSE, STUDY, "summary"])
    parser.add_argument("--out", required=True, help="folder of the record; one that has lines is gone on with")
    parser.add_argument("--workers", type=int, default=6, help="processes that share the device")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after that")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of each worker (default: the cores divided among them)")
    parser.add_argument("--task", default="practice")
    parser.add_argument("--model", default="default")
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument(
        "--rates", nargs="+", default=[], metavar="METHOD=RATE,RATE", help="in place of the table's (rates.py)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--crossed", action="store_true", help="every seed on every fold, not one fold for each seed")
    parser.add_argument("--options", default="{}", help='further options of all runs, as JSON: {"epochs": 2}')
    parser.add_argument("--limit-examples", type=int, help="of each split, for trying out")
    parser.add_argument("--plans", action="store_true", help="plan the study's runs too: seconds each")
    parser.add_argument("--retry", action="store_true", help="run again what has failed")
    return parser


def _grid(methods: Sequence[str] | None, given: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Method -> rates."""
    from semtune.errors import SemtuneError
    from semtune.registry import METHODS

    own = {name: tuple(map(float, text.split(","))) for name, _, text in (entry.partition("=") for entry in given)}
    try:
        for name in [*(methods or ()), *own]:
            METHODS.check(name)
    except SemtuneError as error:
        sys.exit(str(error))
    return {name: own.get(name, rates.RATES.get(name, rates.OTHERS)) for name in methods or METHODS}


def _run(
    options: argparse.Namespace,
    setting: rate_runs.Setting,
    grid: dict[str, tuple[float, ...]],
    runs: Sequence[tuple[int, str]],
    rows: list[dict[str, Any]],
    out: Path,
) -> None:
    """Do the jobs of the sections asked for, as long as there is time; each result is added to `rows` and the file."""
    end = time.monotonic() + options.seconds
    rank = rate_summary.metric_of(setting.task).rank
    choose = rates.choose_jobs(grid, runs) if CHOOSE in options.sections else []
    schedule = rates.Schedule(
        choose,
        list(grid) if STUDY in options.sections else [],
        options.seeds,
        {Job.of(row) for row in rows if not (options.retry and "error" in row)},
        lambda method: rates.chosen_rate(rows, method, rank),
    )
    started = time.monotonic()

    def next_job() -> Job | None:
        return schedule.next() if time.monotonic() < end else None

    def on_result(job: Job, result: dict[str, Any]) -> None:
        row = {**vars_of(job), **result}
        rows[:] = [other for other in rows if Job.of(other) != job] + [row]
        with (out / ROWS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        schedule.ended(job)
        figure = result.get("error") or result.get("score") or result.get("scores", {}).get("test")
        said = f"{time.monotonic() - started:.0f} s, {len(rows)} rows: {' '.join(map(str, vars_of(job).values()))}"
        print(f"{said}: {figure}", file=sys.stderr, flush=True)

    worker_pool.run_all(options.workers, rate_runs.prepare, setting, next_job, on_result)


def vars_of(job: Job) -> dict[str, Any]:
    """The job's fields."""
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The last row of every job; a line that was cut by a kill is left out."""
    found: dict[Job, dict[str, Any]] = {}
    lines = (out / ROWS).read_text(encoding="utf-8").splitlines() if (out / ROWS).exists() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[Job.of(row)] = row
    return list(found.values())


def _check_same(out: Path, setting: rate_runs.Setting, more: dict[str, Any]) -> None:
    """End with a message where the folder's rows are of other runs than those asked for now."""
    now = {
        "task": setting.task, "model": Path(setting.model).name,
        "limit_examples": setting.limit_examples, "options": dict(setting.options), **more,
    }  # fmt: skip
    file = out / SETTING
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != now:
        sys.exit(f"{file} has other options than these; choose another --out, or give the same ones.")
    file.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def write_environment(out: Path, setting: rate_runs.Setting, workers: int) -> None:
    """What the figures depend on besides the code."""
    from semtune.measure.environment import environment

    found = {**environment(), "workers": workers, "threads_of_each": setting.threads}
    device = rate_runs.device_of(setting)
    (out / f"environment-{device}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
