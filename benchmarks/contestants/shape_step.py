"""Memory and seconds of training steps of semtune on a model of a published shape with random weights.

Variants: those of `ours`. The step is the reference batch (the same 8 texts as everywhere, ids folded into the shape's
vocabulary), taken twice: after the first step the optimizer's moments exist. Loading is measured too.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contestants.common import REFERENCE_STEPS, Settings, read_data, reference_batch, run_program


def main(settings: Settings) -> dict[str, Any]:
    """Peaks of loading and training, and the seconds of each."""
    import torch

    from benchmarks.contestants.ours import RecordingWork, Steps, build, train_on, train_settings
    from semtune.approaches.tuned_model import TunedModel  # noqa: F401 - the runtime is measured with its imports done
    from semtune.contracts import TokenizedExample
    from semtune.measure.memory import PhaseMeter, resident_bytes

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    reference = reference_batch(data.lengths(), settings.batch_size)
    meter = PhaseMeter()
    started = time.perf_counter()
    with meter.phase("load"):
        tuned = build(settings, data)
    load_seconds = time.perf_counter() - started
    loaded_bytes = resident_bytes()
    size = tuned.loaded.tokenizer.vocab_size
    batch = [data.texts[i] for i in reference]
    texts = [TokenizedExample(t["id"], tuple(i % size for i in t["ids"]), t["prompt_length"], None) for t in batch]
    seen = Steps()
    with meter.phase("train"):
        loop = train_settings(settings.batch_size, REFERENCE_STEPS, settings.seed)
        train_on(RecordingWork(tuned), texts, loop, seen)
    return {
        "model": settings.model,
        "parameters": tuned.total_parameters(),
        "trainable_parameters": tuned.trainable_parameters(),
        "step_seconds": [event.seconds for event in seen.events],
        "tokens": [event.tokens for event in seen.events],
        "losses": [event.loss for event in seen.events],
        "load_seconds": load_seconds,
        "runtime_bytes": meter.runtime_bytes,
        "loaded_bytes": loaded_bytes,
        "load_peak_bytes": meter.peak_bytes["load"],
        "peak_bytes": meter.peak_bytes["train"],
        "dtype": str(tuned.loaded.compute_dtype),
    }


if __name__ == "__main__":
    run_program(main)
