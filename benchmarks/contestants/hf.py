"""What the two Trainer-based stacks share: the model, the data set, and how steps are timed and chosen.

Timed is from `on_step_begin` to `on_step_end`: forward, backward, clipping, optimizer. Collating happens before,
outside the clock, in the peers' favour.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.contestants.common import (
    EPOCHS,
    RECIPE,
    REFERENCE_STEPS,
    Data,
    Settings,
    as_batches,
    new_size_share,
    padded_tokens,
    random_epochs,
    reference_batch,
    same_batches,
    spread,
)
from semtune.measure.memory import PhaseMeter

COMMON_ARGUMENTS: dict[str, Any] = {
    "learning_rate": RECIPE["learning_rate"], "max_grad_norm": RECIPE["max_grad_norm"],
    "gradient_checkpointing": False, "logging_strategy": "no", "save_strategy": "no", "eval_strategy": "no",
    "report_to": [], "disable_tqdm": True, "dataloader_num_workers": 0, "use_cpu": True,
}  # fmt: skip
"""Of transformers' TrainingArguments and TRL's SFTConfig; the optimizer is their default (fused AdamW)."""


def load_model(data: Data, dtype: torch.dtype, **options: Any) -> Any:
    """The default model, as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(data.model_folder, dtype=dtype, **options)


def load_tokenizer(data: Data) -> Any:
    return AutoTokenizer.from_pretrained(data.model_folder)


def dataset(data: Data) -> Dataset:
    """The training texts, already tokenised; the prompt carries no loss."""
    rows = []
    for text in data.texts:
        ids, prompt = text["ids"], text["prompt_length"]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * prompt + ids[prompt:]})
    return Dataset.from_list(rows)


class StepTimes(TrainerCallback):
    """Seconds of each step, and the peak of memory after the reference steps, read outside the clock."""

    def __init__(self, meter: PhaseMeter) -> None:
        self.seconds: list[float] = []
        self.reference_peak_bytes = 0
        self._meter, self._started = meter, 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)
        if len(self.seconds) == REFERENCE_STEPS:
            with self._meter.phase("evaluate"):  # entering it credits what came before to "train"
                self.reference_peak_bytes = self._meter.peak_bytes["train"]


class Counted:
    """A collator that notes real tokens and the size of what it made, in the order of the steps."""

    def __init__(self, collator: Any) -> None:
        self._collator = collator
        self.tokens: list[int] = []
        self.sizes: list[int] = []

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        batch = self._collator(features)
        self.tokens.append(sum(len(f["input_ids"]) for f in features))
        self.sizes.append(int(batch["input_ids"].numel()))
        return batch


class Fixed(Sampler[int]):
    """Texts in a given order."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def sampled(trainer_class: type[Any], data: Data, settings: Settings, *, padded: bool) -> type[Any]:
    """`trainer_class` that runs the reference batch, then batches that stand for the epoch in its sampler's order.

    `padded`: batches are spread by padded tokens, else by real ones.
    """
    lengths = data.lengths()

    def size(batch: Sequence[int]) -> int:
        return padded_tokens(lengths, batch) if padded else sum(lengths[i] for i in batch)

    class SampledTrainer(trainer_class):
        def _get_train_sampler(self, train_dataset: Any = None) -> Fixed:
            epochs = []
            for number in range(EPOCHS):
                torch.manual_seed(EPOCHS * settings.seed + number)
                epochs.append(as_batches(list(super()._get_train_sampler(train_dataset)), settings.batch_size))
            epoch, self.new_size_share = epochs[0], new_size_share(epochs, size)
            timed = spread(epoch, size, settings.timed_steps, settings.seed)
            warmup = spread(epoch, size, settings.warmup_steps, settings.seed)
            order = [reference_batch(lengths, settings.batch_size)] * REFERENCE_STEPS + warmup + timed + timed
            return Fixed([i for batch in order for i in batch])

    return SampledTrainer


def in_same_batches(trainer_class: type[Any], data: Data, settings: Settings) -> type[Any]:
    """`trainer_class` that runs `common.same_batches`, of its default order, padded."""
    lengths = data.lengths()

    class SameBatchesTrainer(trainer_class):
        new_size_share = new_size_share(random_epochs(lengths, settings), lambda batch: padded_tokens(lengths, batch))

        def _get_train_sampler(self, train_dataset: Any = None) -> Fixed:
            return Fixed([i for batch in same_batches(lengths, settings) for i in batch])

    return SameBatchesTrainer


def train_and_measure(trainer: Any, meter: PhaseMeter, settings: Settings) -> dict[str, Any]:
    """Run a trainer made by a class of `sampled` or `in_same_batches`; what a training contestant reports."""
    clock = StepTimes(meter)
    trainer.add_callback(clock)
    counted = Counted(trainer.data_collator)
    trainer.data_collator = counted
    with meter.phase("train"):
        trainer.train()
    first = settings.untimed_steps
    if len(clock.seconds) != settings.total_steps:
        raise RuntimeError(f"{len(clock.seconds)} steps were run instead of {settings.total_steps}")
    return {
        "step_seconds": clock.seconds[first:],
        "first_seconds": clock.seconds[first - settings.timed_steps : first],
        "new_size_share": trainer.new_size_share,
        "tokens": counted.tokens[first : settings.total_steps],
        "tensor_tokens": counted.sizes[first : settings.total_steps],
        "reference_seconds": clock.seconds[:REFERENCE_STEPS],
        "reference_tokens": [counted.tokens[0], counted.sizes[0]],
        "runtime_bytes": meter.runtime_bytes,
        "load_peak_bytes": meter.peak_bytes["load"],
        "peak_bytes": clock.reference_peak_bytes,
        "train_peak_bytes": meter.peak_bytes["train"],
    }
