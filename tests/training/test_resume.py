"""Training that stops and goes on from its saved state ends with the same bits as training that does not stop."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from semtune.contracts import TokenizedExample
from semtune.errors import ModelError, OptionError
from semtune.registry import OPTIMIZERS
from semtune.training.loop import EpochEvent, StepEvent, train
from semtune.training.optimizer import Optimizer
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.schedule import Schedule
from semtune.training.state import TrainSettings, TrainState

TEXTS = [TokenizedExample(str(n), tuple((n + k) % 16 for k in range(3 + n % 6)), 1, ()) for n in range(22)]
SETTINGS = TrainSettings(
    epochs=3, batch_size=3, accumulation_steps=2, warmup_fraction=0.2, max_grad_norm=0.5, patience=None, seed=4
)
KINDS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": torch.float32},
    "bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True},
    "fp16 with masters": {"dtype": torch.float16, "master_weights": True},
    "pure bf16": {"dtype": torch.bfloat16},
    "8 bits, fp32": {"dtype": torch.float32, "optimizer": "adamw-8bit"},
    "8 bits, bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True, "optimizer": "adamw-8bit"},
    "8 bits, fp16 with masters": {"dtype": torch.float16, "master_weights": True, "optimizer": "adamw-8bit"},
    "lion, bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True, "optimizer": "lion"},
    "adafactor, pure bf16": {"dtype": torch.bfloat16, "optimizer": "adafactor"},
    "apollo, bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True, "optimizer": "apollo", "rank": 4},
    "mezo, fp32": {"dtype": torch.float32, "optimizer": "mezo"},
    "mezo, bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True, "optimizer": "mezo"},
    "fused, fp32": {"dtype": torch.float32, "fused_update": True},
    "fused, bf16 with masters": {"dtype": torch.bfloat16, "master_weights": True, "fused_update": True},
    "fused, total norm": {"dtype": torch.float32, "fused_update": True, "fused_clip": "total"},
}


class Saved(Exception):  # noqa: N818 - as StopIteration
    """Training is cut off here."""


class Work:
    """A two-layer network with dropout; its weights are all that a checkpoint would hold beside the state."""

    def __init__(self, dtype: torch.dtype, scores: Sequence[float] = ()) -> None:
        torch.manual_seed(11)
        self.model = nn.Sequential(
            nn.Embedding(16, 64), nn.Dropout(0.2), nn.Linear(64, 80), nn.Tanh(), nn.Linear(80, 16)
        ).to(dtype)
        self.scores = list(scores)
        self.kept: list[int] = []

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[Tensor, int]:
        ids = torch.tensor([i for e in batch for i in e.ids])
        logits = self.model(ids).float()
        return nn.functional.cross_entropy(logits, (ids + 1) % 16, reduction="sum"), len(ids)

    def num_targets(self, tokenized: TokenizedExample) -> int:
        return len(tokenized)

    def train_mode(self, training: bool) -> None:
        self.model.train(training)

    def evaluate(self) -> float | None:
        return self.scores.pop(0) if self.scores else None

    def keep(self) -> None:
        self.kept.append(1)

    def groups(self, master_weights: bool = False) -> list[ParameterGroup]:
        named = dict(self.model.named_parameters())
        head = {name: named.pop(name) for name in ("4.weight", "4.bias")}
        options = {"master_weights": master_weights}
        return [ParameterGroup(named, 1e-2, 0.1, **options), ParameterGroup(head, 3e-3, **options)]


def choice_of(kind: dict[str, Any]) -> OptimizerChoice:
    """The optimizer of a kind: AdamW where it names none."""
    rule = OPTIMIZERS.get(kind.get("optimizer", "adamw"))
    settings = rule.Settings(**{key: kind[key] for key in ("rank",) if key in kind})
    return OptimizerChoice(rule, settings, kind.get("fused_update", False), kind.get("fused_clip", "tensor"))


class Watcher:
    """Keeps every event; writes state and weights after a step or an epoch and then cuts training off."""

    def __init__(self, state: TrainState, work: Work, step: int | None = None, epoch: int | None = None) -> None:
        self.state, self.work, self.step, self.epoch = state, work, step, epoch
        self.events: list[tuple[Any, ...]] = []
        self.file = io.BytesIO()

    def on_step(self, event: StepEvent) -> None:
        self.events.append((event.step, event.steps, event.epoch, event.loss, event.grad_norm, event.learning_rate))
        self._save(event.step == self.step)

    def on_epoch(self, event: EpochEvent) -> None:
        self.events.append(("epoch", event.epoch, event.dev_score, event.best))
        self._save(event.epoch == self.epoch)

    def _save(self, now: bool) -> None:
        if now:
            torch.save({"state": self.state.state_dict(), "weights": self.work.model.state_dict()}, self.file)
            raise Saved


def run(
    kind: dict[str, Any],
    saved: Any = None,
    scores: Sequence[float] = (),
    settings: TrainSettings = SETTINGS,
    **until: int,
) -> tuple[Work, Watcher]:
    work = Work(kind["dtype"], scores)
    if kind.get("fused_update"):
        settings = dataclasses.replace(settings, accumulation_steps=1)
    if saved is not None:
        work.model.load_state_dict(saved["weights"])
    groups = work.groups(kind.get("master_weights", False))
    state = TrainState.begin(groups, TEXTS, settings, choice=choice_of(kind))
    torch.manual_seed(99)
    if saved is not None:
        torch.manual_seed(123)  # what the process drew meanwhile must not matter
        state.load_state_dict(saved["state"])
    watcher = Watcher(state, work, **until)
    try:
        train(work, state, TEXTS, settings, metric="accuracy", observers=[watcher])
    except Saved:
        assert until
    return work, watcher


def reopened(watcher: Watcher) -> Any:
    watcher.file.seek(0)
    return torch.load(watcher.file, weights_only=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("until", [{"step": 1}, {"step": 4}, {"step": 6}, {"epoch": 1}, {"epoch": 2}], ids=str)
def test_going_on_gives_the_same_bits(kind: str, until: dict[str, int]) -> None:
    """Cut off after a step within an epoch, after an epoch's last step (before dev is scored), and after an epoch."""
    scores = [0.2, 0.5, 0.4]
    straight, all_of_it = run(KINDS[kind], scores=scores)
    cut, first = run(KINDS[kind], scores=scores, **until)
    resumed, second = run(KINDS[kind], reopened(first), scores=cut.scores)
    assert first.events + second.events == all_of_it.events
    for (name, ours), theirs in zip(resumed.model.named_parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert second.state.outcome.tokens == all_of_it.state.outcome.tokens
    ours, theirs = second.state.state_dict(), all_of_it.state.state_dict()
    for name in theirs["optimizer"]:
        for key, value in theirs["optimizer"][name].items():
            assert torch.equal(ours["optimizer"][name][key], value), (name, key)
    for part in ("schedule", "sampler"):
        assert ours[part] == theirs[part]
    assert (second.state.outcome.best_epoch, second.state.outcome.best_dev_score) == (2, 0.5)


@pytest.mark.parametrize("lost", ["optimizer", "schedule", "sampler", "random"])
def test_every_part_of_the_state_counts(lost: str) -> None:
    """A part that is not restored is noticed: the test above would fail without any of them."""
    kind = KINDS["bf16 with masters"]
    straight, _ = run(kind)
    _, first = run(kind, step=5)
    saved = reopened(first)
    fresh = TrainState.begin(Work(kind["dtype"]).groups(master_weights=True), TEXTS, SETTINGS)
    torch.manual_seed(7)
    saved["state"][lost] = fresh.state_dict()[lost]
    resumed, _ = run(kind, saved)
    pairs = zip(resumed.model.parameters(), straight.model.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_patience_goes_on_counting() -> None:
    scores, kind = [0.5, 0.4, 0.3], KINDS["fp32"]
    settings = TrainSettings(8, 3, 2, 0.2, 0.5, patience=2, seed=4)
    cut, first = run(kind, scores=scores, settings=settings, epoch=2)
    resumed, second = run(kind, reopened(first), scores=cut.scores, settings=settings)
    assert second.state.outcome.epochs_trained == 3
    again, third = run(kind, {"state": second.state.state_dict(), "weights": resumed.model.state_dict()}, (), settings)
    assert third.events == [], "patience had run out"
    assert third.state.outcome.epochs_trained == 3
    assert again.kept == []


@pytest.mark.parametrize("kind", KINDS)
def test_optimizer_state_goes_through_safetensors(kind: str, tmp_path: Path) -> None:
    _, watcher = run(KINDS[kind])
    state = watcher.state.optimizer.state_dict()
    flat = {f"{name}/{key}": tensor for name, tensors in state.items() for key, tensor in tensors.items()}
    save_file(flat, tmp_path / "optimizer.safetensors")
    read = load_file(tmp_path / "optimizer.safetensors")
    assert read.keys() == flat.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in flat.items())
    assert {name.split("/")[0] for name in flat} == {"0.weight", "2.weight", "2.bias", "4.weight", "4.bias"}
    plain = {part: watcher.state.state_dict()[part] for part in ("schedule", "sampler", "outcome")}
    assert json.loads(json.dumps(plain)) == plain


def test_state_is_named_by_parameter_and_not_by_position() -> None:
    kind = KINDS["bf16 with masters"]
    _, watcher = run(kind)
    saved = watcher.state.optimizer.state_dict()
    work = Work(kind["dtype"])
    backwards = dict(reversed(list(work.model.named_parameters())))
    other = Optimizer([ParameterGroup(backwards, 1e-2, master_weights=True)], Schedule(10, 0.1))
    other.load_state_dict(saved)
    for name, tensors in other.state_dict().items():
        assert all(torch.equal(tensor, saved[name][key]) for key, tensor in tensors.items())


def test_a_state_of_other_parameters_is_refused() -> None:
    kind = KINDS["bf16 with masters"]
    saved = run(kind)[1].state.optimizer.state_dict()

    def optimizer(*, name: str = "adamw", **options: Any) -> Optimizer:
        choice = OptimizerChoice(OPTIMIZERS.get(name))
        return Optimizer(Work(kind["dtype"]).groups(**options), Schedule(10, 0.1), choice)

    with pytest.raises(ModelError, match=r"holds exp_avg, exp_avg_sq, residual_bits"):
        optimizer(master_weights=True, name="adamw-8bit").load_state_dict(saved)
    with pytest.raises(ModelError, match=r"not that of AdamW"):
        optimizer().load_state_dict(saved)
    with pytest.raises(ModelError, match=r"lacks 2\.bias \(1 parameters"):
        optimizer(master_weights=True).load_state_dict({k: v for k, v in saved.items() if k != "2.bias"})
    with pytest.raises(ModelError, match=r"also holds 9\.weight"):
        optimizer(master_weights=True).load_state_dict({**saved, "9.weight": {}})
    cut = {k: {n: t[..., :7] if t.ndim else t for n, t in tensors.items()} for k, tensors in saved.items()}
    with pytest.raises(ModelError, match=r"\(7,\), not"):
        optimizer(master_weights=True).load_state_dict(cut)
    plain = run(KINDS["fp32"])[1].state.optimizer.state_dict()
    with pytest.raises(ModelError, match=r"float32.*, not torch.bfloat16"):
        optimizer().load_state_dict(plain)


def test_a_state_of_another_training_is_refused() -> None:
    _, watcher = run(KINDS["fp32"])
    saved = watcher.state.state_dict()
    work = Work(torch.float32)
    longer = TrainState.begin(work.groups(), TEXTS, TrainSettings(9, 3, 2, 0.2, 0.5, None, 4))
    with pytest.raises(OptionError, match="warmup steps, this one has 7"):
        longer.schedule.load_state_dict(saved["schedule"])
    other = TrainState.begin(work.groups(), TEXTS, TrainSettings(3, 3, 2, 0.2, 0.5, None, 5))
    with pytest.raises(OptionError, match="seed 4, this one 5"):
        other.sampler.load_state_dict(saved["sampler"])


def test_a_name_in_two_groups_is_a_mistake() -> None:
    group = ParameterGroup({"weight": nn.Parameter(torch.zeros(2))}, 1.0)
    with pytest.raises(ValueError, match="weight"):
        Optimizer([group, group], Schedule(1, 0.0))
