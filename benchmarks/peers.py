"""semtune against its peers on this machine: `make bench`, or `python benchmarks/peers.py [--json] [--quick]`.

Interleaved rounds, each contestant in a process of its own; tables, then one JSON object alone on the last line of
standard output (with --json nothing else is there). The record folder gets raw results, environment, figures and
tables. What each figure means is in README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figures, launch, record, schedule, setting, table
from benchmarks.ratios import Figure, Run
from benchmarks.schedule import Contestant
from benchmarks.setting import say
from benchmarks.targets import FP32_TARGETS, TARGETS, Target
from semtune.runtime.processor import native_bf16

ADAPTER_STEPS = 40
Launch = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 whatever the figures are; 1 where nothing could be measured; 130 on Ctrl-C."""
    options = read_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the running contestant too
    rounds = options.rounds or (schedule.QUICK_ROUNDS if options.quick else schedule.ROUNDS)
    native = native_bf16()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        say("preparing texts and an adapter")
        data = setting.prepare(Path(work), options.threads, setting.data_folder(options.data_dir), ADAPTER_STEPS)
        if "error" in data:
            say(f"The bench cannot start: {data['error']}")
            return 1
        folder = record.new_folder(options.out, "bench-quick" if options.quick else "bench")
        common = {"work": work, "threads": options.threads, "variant": ""}
        surroundings = {**launch.launch("surroundings", common), "revision": record.revision(), "data": data}
        record.write_json(folder, "environment.json", surroundings)
        runs: list[Run] = []
        try:
            kept, whole = all_rounds(rounds, common, launch.launch, lambda run: _note(folder, runs, run), native=native)
        except KeyboardInterrupt:
            say(f"stopped in the first round; {record.shown(folder)}/runs.jsonl holds what was measured so far")
            return 130
    if whole < rounds:
        say(f"stopped; the figures are those of the {whole} whole rounds of {rounds}")
    runs = [run for run in runs if run.round < whole]
    found = figures.figures(runs, kept)
    about = {
        "rounds": whole,
        "quick": options.quick,
        "dtypes": ["bf16", "fp32"] if native else ["fp32"],
        "data": data,
        "threads": options.threads,
        "wall_seconds": round(time.perf_counter() - started),
        "record": record.shown(folder),
    }
    targets = TARGETS if native else FP32_TARGETS
    result = summary(found, runs, kept, about, targets)
    text = tables(found, runs, result, targets)
    record.write_json(folder, "summary.json", result)
    (folder / "tables.txt").write_text(text, encoding="utf-8")
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)
    print(json.dumps(result), flush=True)
    return 0 if whole == rounds else 130


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    setting.add_options(parser)
    parser.add_argument("--quick", action="store_true", help=f"{schedule.QUICK_ROUNDS} rounds: a look, not a result")
    parser.add_argument("--rounds", type=int, help=f"(default: {schedule.ROUNDS})")
    options = parser.parse_args(arguments)
    if options.threads < 1 or (options.rounds is not None and options.rounds < 1):
        parser.error("--threads and --rounds must be at least 1")
    return options


def all_rounds(
    rounds: int, common: Mapping[str, Any], start: Launch, note: Callable[[Run], None], *, native: bool = True
) -> tuple[dict[str, list[str]], int]:
    """Run everything; the peers of each class that ran in all rounds, and the number of whole rounds.

    After the first round the peers are screened, and what is measured once is measured. Ctrl-C ends a later one.

    Args:
        common: settings of all contestants.
        start: as `launch.launch`.
        note: resolved of each run.
        native: whether this machine multiplies bf16 in hardware (`schedule.sensible`).
    """
    seen: list[Run] = []
    kept: dict[str, list[str]] = {}
    everyone = schedule.sensible(schedule.CONTESTANTS, native_bf16=native)
    field: Sequence[Contestant] = everyone
    for round_ in range(rounds):
        try:
            for contestant in schedule.order(field, round_, rounds):
                seen.append(one(contestant, round_, common, start))
                note(seen[-1])
        except KeyboardInterrupt:
            if round_ == 0:
                raise
            return kept, round_
        if round_ == 0:
            kept = schedule.screen(seen, schedule.peer_classes(everyone))
            for contestant in schedule.ONCE:
                note(one(contestant, 0, common, start))
        field = schedule.going_on(everyone, kept, seen)
    return kept, rounds


def one(contestant: Contestant, round_: int, common: Mapping[str, Any], start: Launch) -> Run:
    """One contestant in one round."""
    started = time.perf_counter()
    settings = {**common, "variant": contestant.variant, "seed": round_, **contestant.settings}
    result = start(contestant.program, settings)
    return Run(contestant.key, round_, result, round(time.perf_counter() - started, 2))


def summary(
    found: Sequence[Figure],
    runs: Sequence[Run],
    kept: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
    targets: Mapping[str, Target] = TARGETS,
) -> dict[str, Any]:
    """The JSON object: every figure by its key (null where it could not be formed), then what stands behind them."""
    return {
        **{figure.key: figure.value for figure in found},
        "verdicts": {f.key: targets[f.key].verdict(f.value) for f in found if f.key in targets},
        "targets": {key: str(target) for key, target in targets.items()},
        "behind": {f.key: f.behind() for f in found},
        "peers_kept_after_screening": dict(kept),
        "sameness": figures.sameness(runs),
        "growth": figures.growth(runs),
        "failures": record.failures(runs),
        **about,
    }


def tables(
    found: Sequence[Figure], runs: Sequence[Run], result: Mapping[str, Any], targets: Mapping[str, Target] = TARGETS
) -> str:
    """What a reader sees."""
    screened = result["peers_kept_after_screening"]
    kept = "".join(f"  {name}: {', '.join(peers) or 'none'}\n" for name, peers in screened.items())
    data, quick = result["data"], " (quick: a look, not a result)" if result["quick"] else ""
    parts = [
        table.contestants_table(runs),
        table.growth_table(result["growth"]),
        table.sameness_lines(result["sameness"]),
        table.figures_table(found, targets),
        f"Peers that went on after the first round:\n{kept}"
        f"{result['rounds']} rounds{quick}, {result['threads']} threads, {result['wall_seconds'] / 60:.0f} min, "
        f"{data['task']} ({data['texts']} texts, {data['mean_tokens_per_text']:.0f} tokens each); "
        f"record: {result['record']}\n",
        "".join(f"Note: {note}\n" for note in data["notes"]),
    ]
    return "\n".join(part for part in parts if part)


def _note(folder: Path, runs: list[Run], run: Run) -> None:
    """Keep a run, write it down, and say so."""
    runs.append(run)
    record.add_run(folder, run)
    how = f"failed: {run.result['error']}" if "error" in run.result else "ok"
    say(f"round {run.round + 1}  {run.contestant}  {run.wall_seconds:.0f} s  {how}")


if __name__ == "__main__":
    sys.exit(main())
