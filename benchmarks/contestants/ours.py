"""semtune, through the same doors as `semtune tune`: RunSpec, resolve, TunedModel.build, the one training loop.

Variants: lora, qlora, qlora-cached (keeps a dequantised copy of the 4-bit base), dora, full; of `method_step` also
full-fused, and every method by its name, with the options of its default preset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from benchmarks.contestants.common import (
    EPOCHS,
    RECIPE,
    REFERENCE_STEPS,
    Data,
    Settings,
    new_size_share,
    padded_tokens,
    read_data,
    reference_batch,
    run_program,
    spread,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "precision": "auto"},
    "qlora": {"method": "qlora", "precision": "nf4"},
    "qlora-cached": {"method": "qlora", "precision": "nf4-cached"},
    "dora": {"method": "dora", "precision": "auto"},
    "full": {"method": "full", "precision": "auto", "master_weights": True},
    "full-fused": {"method": "full", "precision": "auto", "master_weights": True, "fused_update": True},
}


class RecordingWork:
    """What the training loop is handed: the readout's loss, no dev split; it notes each batch's texts."""

    def __init__(self, tuned: Any) -> None:
        self.tuned = tuned
        self.batches: list[list[tuple[int, int]]] = []
        """(inputs, completion positions) of each text, by loss call."""

    def loss(self, batch: Sequence[Any]) -> tuple[Any, int]:
        self.batches.append([(len(e) - 1, len(e) - e.prompt_length) for e in batch])
        return self.tuned.readout.loss(batch)

    def num_targets(self, tokenized: Any) -> int:
        return self.tuned.readout.num_targets(tokenized)

    def train_mode(self, training: bool) -> None:
        self.tuned.loaded.model.train(training)

    def evaluate(self) -> float | None:
        return None

    def keep(self) -> None:
        pass


class Steps:
    """An observer that keeps every step's and every epoch's event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.epochs: list[Any] = []

    def on_step(self, event: Any) -> None:
        self.events.append(event)

    def on_epoch(self, event: Any) -> None:
        self.epochs.append(event)


def train_settings(batch_size: int, epochs: int, seed: int) -> Any:
    """The loop's settings: the common recipe."""
    from semtune.training.state import TrainSettings

    return TrainSettings(
        epochs=epochs, batch_size=batch_size, accumulation_steps=1, warmup_fraction=0.1,
        max_grad_norm=RECIPE["max_grad_norm"], patience=None, seed=seed,
    )  # fmt: skip


def train_on(work: RecordingWork, texts: Sequence[Any], settings: Any, steps: Steps) -> None:
    """The training loop over `texts`, without a dev split; `steps` receives its events."""
    from semtune.training.loop import train
    from semtune.training.state import TrainState

    state = TrainState.begin(work.tuned.groups(), texts, settings)
    train(work, state, texts, settings, metric="none", observers=[steps])


def build(settings: Settings, data: Data) -> Any:
    """The variant's TunedModel. Raises SemtuneError, for a precision that this version does not know too."""
    from semtune.approaches.tuned_model import TunedModel
    from semtune.records import TargetSpace
    from semtune.registry import METHODS
    from semtune.specs import resolve, spec_from

    values = {
        "task": data.task, "model": settings.model, "readout": "generate", "seed": settings.seed,
        "batch_size": settings.batch_size, "threads": settings.threads, "learning_rate": RECIPE["learning_rate"],
    }  # fmt: skip
    values |= VARIANTS.get(settings.variant, {"method": settings.variant})
    known = {option.name for option in fields(METHODS.get(values["method"]).Settings)}
    if "rank" in known:
        values |= {name: RECIPE[name] for name in ("rank", "alpha", "dropout", "targets")}
    spec = spec_from(values, "the variant")
    return TunedModel.build(resolve(spec), TargetSpace(data.answer, tuple(data.labels)))


def epoch_sample(lengths: Sequence[int], settings: Settings) -> list[int]:
    """Texts whose batches stand for one epoch of semtune's own order (it groups by length).

    The loop makes its batches of them again; as it runs the largest first, that one is added and never timed.
    """
    from semtune.training.sampler import epoch_batches

    batches = [
        b for b in epoch_batches(lengths, settings.batch_size, settings.seed, 0) if len(b) == settings.batch_size
    ]

    def size(batch: Sequence[int]) -> int:
        return sum(lengths[i] for i in batch)

    largest = max(batches, key=size)
    rest = [batch for batch in batches if batch is not largest]
    chosen = [largest, *spread(rest, size, settings.warmup_steps - 1 + settings.timed_steps, settings.seed)]
    return [i for batch in chosen for i in batch]


def passes(events: Sequence[Any], settings: Settings) -> tuple[list[int], list[int]]:
    """Indices of the steps of the first pass over the timed batches, and of the second, in the same order of batches.

    Each pass is an epoch less its largest batch, which the loop's order had brought in; within an epoch of few batches
    the loop makes the same ones each time, told apart by their tokens.
    """
    steps = settings.warmup_steps + settings.timed_steps
    ranked = []
    for start in (REFERENCE_STEPS, REFERENCE_STEPS + steps):
        ranked.append(sorted(range(start, start + steps), key=lambda i: events[i].tokens)[:-1])
    return ranked[0], ranked[1]


def size_share(lengths: Sequence[int], settings: Settings) -> float:
    """`new_size_share` of semtune's own order; a size is the rows of the linear layers and the longest text."""
    from semtune.nn.packed_batch import padding_to_multiple
    from semtune.training.sampler import epoch_batches

    def size(batch: Sequence[int]) -> tuple[int, int]:
        rows = sum(lengths[i] - 1 for i in batch)
        return rows + padding_to_multiple(rows), max(lengths[i] for i in batch)

    epochs = [epoch_batches(lengths, settings.batch_size, settings.seed, number) for number in range(EPOCHS)]
    return new_size_share(epochs, size)


def loaded(settings: Settings) -> tuple[Data, list[Any], Any, Any]:
    """The data, its texts as semtune's tokenized examples, a memory meter, and the model, loaded under the meter."""
    import torch

    from semtune.approaches.tuned_model import TunedModel  # noqa: F401 - the runtime is measured with its imports done
    from semtune.contracts import TokenizedExample
    from semtune.measure.memory import PhaseMeter

    torch.set_num_threads(settings.threads)
    data = read_data(settings.work)
    texts = [TokenizedExample(t["id"], tuple(t["ids"]), t["prompt_length"], None) for t in data.texts]
    meter = PhaseMeter()
    with meter.phase("load"):
        tuned = build(settings, data)
    return data, texts, meter, tuned


def main(settings: Settings) -> dict[str, Any]:
    """Step times, memory and FLOP utilisation of one variant."""
    from benchmarks.contestants.flops import Shape, gemm_peak, step_flops

    data, texts, meter, tuned = loaded(settings)
    lengths = data.lengths()
    work, seen = RecordingWork(tuned), Steps()

    def run(indices: Sequence[int], epochs: int) -> None:
        loop = train_settings(settings.batch_size, epochs, settings.seed)
        with meter.phase("train"):
            train_on(work, [texts[i] for i in indices], loop, seen)

    reference = reference_batch(lengths, settings.batch_size)
    run(reference, REFERENCE_STEPS)
    same_step_peak = meter.peak_bytes["train"]
    dtype, shape = tuned.loaded.compute_dtype, Shape.of(tuned.loaded.model.config)
    rows = sum(lengths[i] - 1 for i in reference)
    rows += -rows % 32
    peak_before = gemm_peak(shape, rows, dtype)
    run(epoch_sample(lengths, settings), 2)
    peak_after = gemm_peak(shape, rows, dtype)

    first, timed = passes(seen.events, settings)
    seconds = [seen.events[i].seconds for i in timed]
    full = settings.variant == "full"
    flops = [
        step_flops(shape, b, targets=RECIPE["targets"], rank=RECIPE["rank"], full=full)
        for b in (work.batches[i] for i in timed)
    ]
    gemm_flops_per_second = max(peak_before, peak_after)
    return {
        "step_seconds": seconds,
        "tokens": [seen.events[i].tokens for i in timed],
        "first_seconds": [seen.events[i].seconds for i in first],
        "new_size_share": size_share(lengths, settings),
        "losses": [event.loss for event in seen.events],
        "reference_seconds": [event.seconds for event in seen.events[:REFERENCE_STEPS]],
        "reference_tokens": [sum(lengths[i] for i in reference), padded_tokens(lengths, reference)],
        "runtime_bytes": meter.runtime_bytes,
        "load_peak_bytes": meter.peak_bytes["load"],
        "peak_bytes": same_step_peak,
        "train_peak_bytes": meter.peak_bytes["train"],
        "dtype": str(dtype),
        "flops": flops,
        "gemm_flops_per_second": [peak_before, peak_after],
        "mfu": sum(flops) / sum(seconds) / gemm_flops_per_second,
    }


if __name__ == "__main__":
    run_program(main)
