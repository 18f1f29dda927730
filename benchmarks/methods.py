"""Every way of tuning against PEFT on this machine: `make bench-methods`, or `python benchmarks/methods.py`.

Interleaved rounds, each contestant in a process of its own, all on the same batches; the folder of the record gets each
run as soon as it is done, and figures of what there is, also after Ctrl-C or at the limit of --seconds. Tables, then
one JSON object alone on the last line of standard output. README.md beside this file says what each figure means.
"""

from __future__ import annotations

import argparse
import functools
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import launch, methods_figures, methods_schedule, peers, ratios, record, schedule, setting, table
from benchmarks.clock import Clock
from benchmarks.methods_schedule import ABSENT, COMPARISONS, PROBE, PROBE_REFERENCE
from benchmarks.ratios import Figure, Run
from benchmarks.schedule import Contestant
from benchmarks.setting import say
from semtune.runtime.processor import native_bf16

NAMES = (*(pair.method for pair in COMPARISONS), "full", "linear-probe")
Start = Callable[..., dict[str, Any]]
"""As `launch.launch`, with `timeout`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 whatever the figures are; 1 where nothing could be measured; 130 on Ctrl-C."""
    options = read_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the running contestant too
    native, started = native_bf16(), time.perf_counter()
    clock = Clock(options.seconds)
    with tempfile.TemporaryDirectory() as work:
        say("preparing texts")
        data = setting.prepare(Path(work), options.threads, setting.data_folder(options.data_dir), 0)
        if "error" in data:
            say(f"The bench cannot start: {data['error']}")
            return 1
        folder = record.new_folder(options.out, "methods")
        common = {"work": work, "threads": options.threads, "variant": "", "model": options.model}
        surroundings = {**launch.launch("surroundings", common), "revision": record.revision(), "data": data}
        record.write_json(folder, "environment.json", surroundings)
        runs: list[Run] = []

        def note(run: Run) -> None:
            runs.append(run)
            record.add_run(folder, run)
            say(f"  {run.wall_seconds:.0f} s  {run.result.get('error', 'ok')}")

        everyone = chosen(methods_schedule.contestants(native_bf16=native), options.methods)
        try:
            ended = all_rounds(everyone, options.rounds, common, launch.launch, note, clock)
        except KeyboardInterrupt:
            ended = "stopped"
    about = {
        "rounds": options.rounds,
        "ended": ended,
        "peer_dtype": "bf16" if native else "fp32",
        "data": data,
        "threads": options.threads,
        "wall_seconds": round(time.perf_counter() - started),
        "record": record.shown(folder),
    }
    status = write(folder, runs, about, native=native, json_alone=options.json)
    return 130 if ended == "stopped" else status


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    setting.add_options(parser)
    rounds = methods_schedule.ROUNDS
    parser.add_argument("--rounds", type=int, default=rounds, help=f"1 for a look (default: {rounds})")
    parser.add_argument("--seconds", type=float, help="begin nothing that would not be done by then")
    parser.add_argument("--methods", help=f"only these, comma separated, of {', '.join(NAMES)}")
    parser.add_argument("--model", default="default", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.rounds < 1 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--threads and --rounds must be at least 1, --seconds more than 0")
    options.methods = [name.strip() for name in options.methods.split(",")] if options.methods else list(NAMES)
    for name in options.methods:
        if name not in NAMES:
            reason = ABSENT.get(name)
            parser.error(
                f"{name} has no peer: {reason}" if reason else f"no method {name}; choose of {', '.join(NAMES)}"
            )
    return options


def chosen(everyone: Sequence[Contestant], methods: Sequence[str]) -> list[Contestant]:
    """Those that the figures of `methods` need."""
    keys: set[str] = set()
    for pair in COMPARISONS:
        if pair.method in methods:
            keys |= {pair.contestant, *pair.peer_contestants}
    if "full" in methods:
        keys.add(methods_schedule.FUSED)
    if "linear-probe" in methods:
        keys |= {PROBE, PROBE_REFERENCE}
    return [contestant for contestant in everyone if contestant.key in keys]


def all_rounds(
    everyone: Sequence[Contestant],
    rounds: int,
    common: Mapping[str, Any],
    start: Start,
    note: Callable[[Run], None],
    clock: Clock,
) -> str:
    """Run everything, each as soon as the one before is done; "done", or why there are runs missing.

    After the first round only the fastest peers of a method that has several go on.
    """
    seen: list[Run] = []
    field: Sequence[Contestant] = everyone
    for round_ in range(rounds):
        for number, contestant in enumerate(schedule.order(field, round_, rounds), start=1):
            if not clock.allows(contestant.key):
                return f"no time left for {contestant.key} in round {round_ + 1}"
            say(f"round {round_ + 1} of {rounds}, {number} of {len(field)}: {contestant.key}")
            timeout = min(launch.TIMEOUT_SECONDS, clock.left())
            with clock.running(contestant.key):
                seen.append(peers.one(contestant, round_, common, functools.partial(start, timeout=timeout)))
            note(seen[-1])
        if round_ == 0:
            kept = schedule.screen(seen, schedule.peer_classes(everyone))
        field = schedule.going_on(everyone, kept, seen)
    return "done"


def write(folder: Path, runs: Sequence[Run], about: Mapping[str, Any], *, native: bool, json_alone: bool) -> int:
    """The record's summary and tables, and the same on screen; the exit status."""
    targets = methods_schedule.targets(native_bf16=native)
    found = methods_figures.figures(runs)
    result = methods_figures.summary(found, targets, record.failures(runs), about)
    text = tables(found, runs, result, targets)
    record.write_json(folder, "summary.json", result)
    (folder / "tables.txt").write_text(text, encoding="utf-8")
    print(text, file=sys.stderr if json_alone else sys.stdout, flush=True)
    print(json.dumps(result), flush=True)
    return 0 if any("error" not in run.result for run in runs) else 1


def tables(found: Sequence[Figure], runs: Sequence[Run], result: Mapping[str, Any], targets: Mapping[str, Any]) -> str:
    """What a reader sees."""
    data = result["data"]
    seconds = [
        f"{key}: {statistics.median(values):.1f} s of training\n"
        for key in (PROBE, PROBE_REFERENCE)
        if (values := ratios.values(runs, key, ratios.run_seconds).values())
    ]
    notes = [f"{pair.method}: {pair.note}\n" for pair in COMPARISONS if pair.note]
    absent = [f"{method} is not compared: {reason}\n" for method, reason in ABSENT.items()]
    parts = [
        table.contestants_table(runs),
        "".join(seconds),
        table.figures_table(found, targets),
        "".join((*notes, *absent)),
        f"{result['rounds']} rounds ({result['ended']}), peers in {result['peer_dtype']}, {result['threads']} threads, "
        f"{result['wall_seconds'] / 60:.0f} min, {data['task']} ({data['texts']} texts, "
        f"{data['mean_tokens_per_text']:.0f} tokens each); record: {result['record']}\n",
        "".join(f"Note: {note}\n" for note in data["notes"]),
    ]
    return "\n".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main())
