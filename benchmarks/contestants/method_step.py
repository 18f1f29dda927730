"""semtune's training step by every method, on the batches that its peers run too (`common.same_batches`).

The step is `training.loop.optimizer_step`, the loop's own; the order of batches is not, as semtune would group texts by
length. Variants: those of `ours`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.contestants.common import (
    RECIPE,
    REFERENCE_STEPS,
    Settings,
    padded_tokens,
    run_program,
    same_batches,
)


class TimedSteps:
    """Optimizer steps of a TunedModel on chosen texts, outside the loop."""

    def __init__(self, tuned: Any, texts: Sequence[Any], total_steps: int) -> None:
        from semtune.training.schedule import Schedule

        self._readout, self._texts = tuned.readout, texts
        self._optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(total_steps, tuned.spec.warmup_fraction))
        tuned.loaded.model.train()

    def run(self, batches: Sequence[Sequence[int]]) -> list[float]:
        """Seconds of a step on each batch of indices."""
        from semtune.runtime.malloc import freed_memory_kept
        from semtune.training.loop import optimizer_step

        seconds = []
        with freed_memory_kept():
            for batch in batches:
                chosen = [self._texts[i] for i in batch]
                started = time.perf_counter()
                optimizer_step(self._readout, self._optimizer, [chosen], float(RECIPE["max_grad_norm"]))
                seconds.append(time.perf_counter() - started)
        return seconds


def main(settings: Settings) -> dict[str, Any]:
    """Step times and memory of one variant."""
    from benchmarks.contestants.ours import loaded, size_share

    data, texts, meter, tuned = loaded(settings)
    lengths = data.lengths()
    batches = same_batches(lengths, settings)
    with meter.phase("train"):
        steps = TimedSteps(tuned, texts, len(batches))
        seconds = steps.run(batches[:REFERENCE_STEPS])
    same_step_peak = meter.peak_bytes["train"]
    with meter.phase("train"):
        seconds += steps.run(batches[REFERENCE_STEPS:])
    first, timed = settings.untimed_steps - settings.timed_steps, settings.untimed_steps
    return {
        "step_seconds": seconds[timed:],
        "tokens": [sum(lengths[i] for i in batch) for batch in batches[timed:]],
        "first_seconds": seconds[first:timed],
        "new_size_share": size_share(lengths, settings),
        "reference_seconds": seconds[:REFERENCE_STEPS],
        "reference_tokens": [sum(lengths[i] for i in batches[0]), padded_tokens(lengths, batches[0])],
        "runtime_bytes": meter.runtime_bytes,
        "load_peak_bytes": meter.peak_bytes["load"],
        "peak_bytes": same_step_peak,
        "train_peak_bytes": meter.peak_bytes["train"],
        "parameters": tuned.total_parameters(),
        "trainable_parameters": tuned.trainable_parameters(),
        "dtype": str(tuned.loaded.compute_dtype),
    }


if __name__ == "__main__":
    run_program(main)
