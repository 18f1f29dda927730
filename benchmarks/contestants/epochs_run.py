"""Seconds that training takes for a run of many epochs on the practice task, readout `head`, each method's defaults.

Variants: linear-probe, which is trained for all epochs, and any other method, whose steps are timed on a few batches
that stand for an epoch of semtune's own order: its epochs all cost the same, and hundreds of steps would take minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contestants.common import Settings, new_size_share, run_program, spread

RUN_EPOCHS = 10
WARM_UP_STEPS = 2
WHOLE = ("linear-probe",)
"""Variants that are trained for all epochs."""


def build(settings: Settings) -> tuple[Any, list[Any]]:
    """The variant's TunedModel and the training texts as token ids."""
    from semtune.approaches.tuned_model import TunedModel
    from semtune.records import TargetSpace, TaskOptions
    from semtune.registry import TASKS
    from semtune.specs import resolve, spec_from

    task = TASKS.get("practice")(TaskOptions())
    values = {
        "task": "practice", "model": settings.model, "readout": "head", "method": settings.variant,
        "seed": settings.seed, "batch_size": settings.batch_size, "epochs": RUN_EPOCHS, "threads": settings.threads,
    }  # fmt: skip
    tuned = TunedModel.build(resolve(spec_from(values, "the variant")), TargetSpace(task.target_kind, task.labels))
    examples = task.load("train")
    tuned.readout.prepare(examples)
    return tuned, [tuned.readout.encode(example) for example in examples]


def whole_run(tuned: Any, texts: Sequence[Any], settings: Settings) -> dict[str, Any]:
    """All epochs, by the training loop."""
    from benchmarks.contestants.ours import RecordingWork, Steps, train_on, train_settings

    seen = Steps()
    train_on(RecordingWork(tuned), texts, train_settings(settings.batch_size, RUN_EPOCHS, settings.seed), seen)
    return {"train_seconds": sum(event.seconds for event in seen.epochs), "steps": len(seen.events)}


def sampled_run(tuned: Any, texts: Sequence[Any], settings: Settings) -> dict[str, Any]:
    """Steps whose tokens a second stand for the epochs; `ratios.run_seconds` makes seconds of a run of them."""
    from benchmarks.contestants.method_step import TimedSteps
    from semtune.training.sampler import epoch_batches

    lengths = [len(text) for text in texts]

    def size(batch: Sequence[int]) -> int:
        return sum(lengths[i] for i in batch)

    epochs = [
        [list(batch) for batch in epoch_batches(lengths, settings.batch_size, settings.seed, number)]
        for number in range(RUN_EPOCHS)
    ]
    timed = spread(epochs[0], size, settings.timed_steps, settings.seed)
    warm_up = spread(epochs[0], size, WARM_UP_STEPS, settings.seed)
    steps = TimedSteps(tuned, texts, RUN_EPOCHS * len(epochs[0]))
    steps.run(warm_up)
    return {
        "first_seconds": steps.run(timed),
        "step_seconds": steps.run(timed),
        "tokens": [size(batch) for batch in timed],
        "new_size_share": new_size_share(epochs, lambda batch: (size(batch), max(lengths[i] for i in batch))),
        "run_tokens": RUN_EPOCHS * sum(lengths),
    }


def main(settings: Settings) -> dict[str, Any]:
    """Seconds and texts of the variant's run."""
    import torch

    torch.set_num_threads(settings.threads)
    tuned, texts = build(settings)
    measure = whole_run if settings.variant in WHOLE else sampled_run
    return {
        **measure(tuned, texts, settings),
        "epochs": RUN_EPOCHS,
        "texts": len(texts),
        "dtype": str(tuned.loaded.compute_dtype),
    }


if __name__ == "__main__":
    run_program(main)
