"""Where a training step's time goes: `python benchmarks/step_profile.py lora full dora`, minutes.

The bench's reference batch (8 texts), after three steps that warm up: the median of 12 steps, then torch.profiler's
self times of 5. Prints text, as it stands beside a record in `profile.txt`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import setting
from benchmarks.contestants.common import Settings, read_data, reference_batch

WARM_UP, TIMED, PROFILED = 3, 12, 5
LINES = 14


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 where the data cannot be prepared."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("methods", nargs="+", help="lora, qlora, dora, full")
    setting.add_common_options(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        data = setting.prepare(Path(work), options.threads, setting.data_folder(options.data_dir), adapter_steps=0)
        if "error" in data:
            setting.say(f"The profile cannot be made: {data['error']}")
            return 1
        for method in options.methods:
            print(profiled(Settings(work=work, variant=method, threads=options.threads)), flush=True)
    return 0


def profiled(settings: Settings) -> str:
    """One method's step: its seconds, and the operations that take most of them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.contestants.ours import build
    from semtune.contracts import TokenizedExample
    from semtune.runtime.malloc import freed_memory_kept
    from semtune.training.loop import optimizer_step
    from semtune.training.schedule import Schedule

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    tuned = build(settings, data)
    chosen = (data.texts[i] for i in reference_batch(data.lengths(), settings.batch_size))
    texts = [TokenizedExample(t["id"], tuple(t["ids"]), t["prompt_length"], None) for t in chosen]
    optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(WARM_UP + TIMED + PROFILED, 0.1))
    tuned.loaded.model.train()

    def step() -> float:
        started = time.perf_counter()
        optimizer_step(tuned.readout, optimizer, [texts], 1.0)
        return time.perf_counter() - started

    with freed_memory_kept():
        for _ in range(WARM_UP):
            step()
        seconds = [step() for _ in range(TIMED)]
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            for _ in range(PROFILED):
                step()
    events = sorted(watched.key_averages(), key=lambda e: -e.self_cpu_time_total)
    lines = [
        f"{settings.variant}: {sum(map(len, texts))} tokens, "
        f"step median {statistics.median(seconds) * 1e3:.0f} ms, minimum {min(seconds) * 1e3:.0f} ms"
    ]
    for event in events[:LINES]:
        milliseconds, calls = event.self_cpu_time_total / 1e3 / PROFILED, event.count // PROFILED
        lines.append(f"  {event.key[:48]:48s} {milliseconds:7.1f} ms  {calls:5d} calls a step")
    total = sum(event.self_cpu_time_total for event in events) / 1e3 / PROFILED
    return "\n".join([*lines, f"  all {total:.1f} ms"])


if __name__ == "__main__":
    sys.exit(main())
