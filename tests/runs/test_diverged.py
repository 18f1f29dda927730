"""Outputs that are no numbers end a run as "diverged", at whatever stage they arise; none passes for "nothing"."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semtune.errors import DivergedError
from semtune.generation.generator import Generator
from semtune.models.loaded import TransformersModel
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, Prediction, RunSpec, SingleLabel, TargetSpace, TaskOptions
from semtune.records.targets import predictions_from
from semtune.registry import BASELINES, READOUTS, TASKS
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import spec_from

from ..toys import EXAMPLES, LABELS, ONE_EACH, TEXTS, micro_f1_threshold, toy_loaded, toy_readout
from .test_runner import Silent

Damage = Callable[[TransformersModel], None]


def all_weights(loaded: TransformersModel) -> None:
    """As after a step with a far too large learning rate."""
    with torch.no_grad():
        loaded.model.get_submodule("model.norm").weight.fill_(math.nan)


def overflow(loaded: TransformersModel) -> None:
    with torch.no_grad():
        loaded.model.get_submodule("model.norm").weight.fill_(math.inf)


@pytest.mark.parametrize("damage", [all_weights, overflow])
@pytest.mark.parametrize("kind", ["label_set", "single_label"])
@pytest.mark.parametrize("name", list(READOUTS))
def test_every_readout(name: str, kind: Any, damage: Damage) -> None:
    loaded = toy_loaded()
    readout = toy_readout(name, loaded, kind=kind)
    if name == "head":
        torch.nn.init.ones_(readout.linear.weight)  # of zeros, infinity times zero is NaN too
    damage(loaded)
    examples = EXAMPLES if kind == "label_set" else ONE_EACH
    with pytest.raises(DivergedError, match="not finite"):
        readout.answer(examples)
    with pytest.raises(DivergedError, match="not finite"):
        readout.calibrate(examples, micro_f1_threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_row_of_the_output_embedding(dtype: torch.dtype) -> None:
    """Hidden states are finite; one token's logit alone is NaN."""
    loaded = toy_loaded(dtype=dtype)
    with torch.no_grad():
        loaded.model.get_submodule("lm_head").weight[7].fill_(math.nan)
    generator = Generator(loaded)
    with pytest.raises(DivergedError, match="logits"):
        generator.generate(TEXTS, 5)
    with pytest.raises(DivergedError, match="log-likelihoods"):
        generator.loglikelihood(TEXTS, [f" {label}" for label in LABELS])
    constraint = generator.label_constraint(ReportPrompt(TargetSpace("label_set", LABELS)).grammar())
    with pytest.raises(DivergedError, match="logits"):
        generator.generate(TEXTS, 60, constraint)


def test_a_token_that_is_impossible_is_no_fault() -> None:
    """Some models mask the padding rows of their vocabulary with minus infinity."""
    loaded = toy_loaded()
    expected = Generator(loaded).generate(TEXTS, 5)
    logits = TransformersModel.logits

    class Masked(TransformersModel):
        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            found = logits(self, hidden).clone()
            found[:, -1] = -math.inf
            return found

    masked = Masked(**{f.name: getattr(loaded, f.name) for f in dataclasses.fields(TransformersModel)})
    assert Generator(masked).generate(TEXTS, 5) == expected
    assert torch.isneginf(Generator(masked).loglikelihood(TEXTS, [[339]])).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["label_set", "single_label"])
def test_probabilities_of_anything_else(kind: Any, value: float) -> None:
    """Baselines and plugins make their predictions with this function."""
    space = TargetSpace(kind, ("a", "b"))
    examples = [Example("first", "x", None), Example("second", "y", None)]
    with pytest.raises(DivergedError, match='"second"'):
        predictions_from(examples, [[0.2, 0.9], [0.3, value]], space, 0.5)


@pytest.fixture
def spec_of(tiny_model: Path, reviews: Path) -> Callable[..., RunSpec]:
    def make(**changes: Any) -> RunSpec:
        options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
        plain = {"model": str(tiny_model), "epochs": 1, "precision": "fp32", "threads": 1, "task_options": options}
        return spec_from({"task": "table", **plain, **changes}, "the test")

    return make


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_baseline_is_a_row_that_diverged(
    split: str, spec_of: Callable[..., RunSpec], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Any approach: this one does not use `predictions_from`."""

    class Broken:
        name, target_kinds = "broken", frozenset({"single_label"})
        calls = 0

        def __init__(self, context: Any) -> None: ...
        def fit(self, train: Any, dev: Any) -> None: ...
        def save(self, folder: Path) -> None: ...
        def predict(self, examples: list[Example]) -> list[Prediction]:
            Broken.calls += 1
            chance = math.nan if Broken.calls == (1 if split == "dev" else 2) else 0.5
            return [Prediction(e.id, SingleLabel("good"), probabilities={"good": chance, "bad": 0.5}) for e in examples]

    BASELINES.register("broken", Broken)
    request.addfinalizer(lambda: BASELINES.unregister("broken"))
    result = run(spec_of(approach="baseline", baseline="broken", precision=None), tmp_path / "run", Silent())
    assert (result.status, "not finite" in str(result.reason)) == ("diverged", True)
    assert set(result.scores) == (set() if split == "dev" else {"dev"})
    assert not (tmp_path / "run" / f"predictions-{split}.json").exists()


def test_weights_that_the_last_step_ruined(
    spec_of: Callable[..., RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients of every step are finite; evaluating shows it, and so does predicting with such weights."""
    result = run(spec_of(), tmp_path / "run", Silent())
    assert result.status == "ok"
    head = READOUTS.get("head")
    find = head._probabilities
    monkeypatch.setattr(head, "_probabilities", lambda self, *a, **b: np.full_like(find(self, *a, **b), np.nan))
    ruined = run(spec_of(seed=1), tmp_path / "ruined", Silent())
    assert ruined.status == "diverged"
    assert not ruined.scores
    with pytest.raises(DivergedError):
        load_run(tmp_path / "run").predict([Example("1", "warm bread", None)])


def test_a_score_that_is_no_number(
    spec_of: Callable[..., RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later score is better than NaN, so the first epoch would be kept as the best."""
    task = TASKS.get("table")
    score = task.score

    def undefined(self: Any, gold: Any, predictions: Any) -> Any:
        found = score(self, gold, predictions)
        return dataclasses.replace(found, values={**found.values, found.primary: math.nan})

    monkeypatch.setattr(task, "score", undefined)
    result = run(spec_of(epochs=2), tmp_path / "run", Silent())
    assert (result.status, "no score" in str(result.reason)) == ("diverged", True)
