"""Training in bf16 ends where training in fp32 does: nearer than two seeds are to each other. Real weights."""

from __future__ import annotations

import pytest
import torch

from semtune.approaches.tuned_model import TunedModel
from semtune.records import TargetSpace, TaskOptions
from semtune.registry import TASKS
from semtune.specs import resolve, spec_from
from semtune.training.loop import train
from semtune.training.state import TrainSettings, TrainState

SEEDS = (0, 1, 2)
TRAIN_TEXTS, DEV_TEXTS, EPOCHS = 96, 64, 2


class Work:
    """What the loop is handed; dev is not scored."""

    def __init__(self, tuned: TunedModel) -> None:
        self.tuned = tuned
        self.loss, self.num_targets = tuned.readout.loss, tuned.readout.num_targets

    def train_mode(self, training: bool) -> None:
        self.tuned.loaded.model.train(training)

    def evaluate(self) -> None:
        return None

    def keep(self) -> None:
        pass


def final_loss(precision: str, seed: int) -> float:
    """Mean cross-entropy a completion token of dev texts after LoRA training."""
    task = TASKS.get("practice")(TaskOptions())
    values = {"task": "practice", "readout": "generate", "precision": precision, "seed": seed}
    spec = resolve(spec_from(values, "the test"))
    tuned = TunedModel.build(spec, TargetSpace(task.target_kind, task.labels))
    texts = [tuned.readout.encode(e) for e in task.load("train")[:TRAIN_TEXTS]]
    settings = TrainSettings(
        epochs=EPOCHS, batch_size=8, accumulation_steps=1, warmup_fraction=0.1, max_grad_norm=1.0, patience=None,
        seed=seed,
    )  # fmt: skip
    train(Work(tuned), TrainState.begin(tuned.groups(), texts, settings), texts, settings, metric="none")
    dev = [tuned.readout.encode(e) for e in task.load("dev")[:DEV_TEXTS]]
    with torch.no_grad():
        parts = [tuned.readout.loss(dev[i : i + 8]) for i in range(0, len(dev), 8)]
    return sum(float(loss) for loss, _ in parts) / sum(num_targets for _, num_targets in parts)


@pytest.mark.slow
def test_bf16_ends_where_fp32_does() -> None:
    """The same seed draws the same batches, start and dropout masks in both, so rounding is all that differs."""
    losses = {p: [final_loss(p, seed) for seed in SEEDS] for p in ("bf16", "fp32")}
    print(losses)
    spread = max(losses["fp32"]) - min(losses["fp32"])
    assert max(abs(a - b) for a, b in zip(losses["bf16"], losses["fp32"], strict=True)) <= spread
