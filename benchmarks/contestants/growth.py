"""How seconds and memory of semtune's training step grow with its real tokens: 64, 128, … 8192, or what time allows.

Variants: those of `ours`. Each size is one batch of whole training texts, as many as come nearest to it, trained on a
few times; the first step of a size warms up and is not timed, of the others the fastest counts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.contestants.common import Settings, read_data, run_program

SIZES = tuple(64 * 2**i for i in range(8))
STEPS = 4
"""A size; the first one is not timed."""
MOST_SECONDS = 240.0
"""A size is begun if twice the seconds of the one before it would end by then; processors without bf16 need it."""


def whole_texts(lengths: Sequence[int], tokens: int) -> list[int]:
    """Texts in their order, from the first again when all are used, until one more would lead further from `tokens`."""
    chosen: list[int] = []
    total = 0
    for i in itertools.cycle(range(len(lengths))):
        if chosen and abs(total + lengths[i] - tokens) >= abs(total - tokens):
            return chosen
        chosen.append(i)
        total += lengths[i]
    return chosen


def main(settings: Settings) -> dict[str, Any]:
    """Tokens, seconds and peak bytes of each size."""
    import torch

    from benchmarks.contestants.ours import RecordingWork, Steps, build, train_on, train_settings
    from semtune.approaches.tuned_model import TunedModel  # noqa: F401 - the runtime is measured with its imports done
    from semtune.contracts import TokenizedExample
    from semtune.measure.memory import PhaseMeter

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    lengths = data.lengths()
    runtime_bytes = PhaseMeter().runtime_bytes
    tuned = build(settings, data)
    rows: list[dict[str, Any]] = []
    started, before = time.monotonic(), 0.0
    for size in SIZES:
        began = time.monotonic()
        if began - started + 2 * before > MOST_SECONDS:
            break
        chosen = whole_texts(lengths, size)
        texts = [
            TokenizedExample(data.texts[i]["id"], tuple(data.texts[i]["ids"]), data.texts[i]["prompt_length"], None)
            for i in chosen
        ]
        meter, seen = PhaseMeter(), Steps()
        with meter.phase("train"):
            loop = train_settings(len(texts), STEPS, settings.seed)
            train_on(RecordingWork(tuned), texts, loop, seen)
        rows.append(
            {
                "texts": len(texts),
                "tokens": seen.events[-1].tokens,
                "step_seconds": [event.seconds for event in seen.events],
                "seconds": min(event.seconds for event in seen.events[1:]),
                "peak_bytes_above_runtime": meter.peak_bytes["train"] - runtime_bytes,
            }
        )
        before = time.monotonic() - began
    return {"runtime_bytes": runtime_bytes, "sizes": rows, "dtype": str(tuned.loaded.compute_dtype)}


if __name__ == "__main__":
    run_program(main)
