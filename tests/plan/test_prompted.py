"""Plans of prompting, beside runs of the same strategies on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.contracts import TaskContext
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.plan.devices import Device, parse_device
from semtune.plan.prompt_calls import PromptCall, calls_of, tokens_per_text
from semtune.plan.prompted import PromptingData, plan_prompting
from semtune.plan.speed import Rates
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, Plan, RunSpec, TargetSpace, TaskOptions
from semtune.registry import STRATEGIES, TASKS
from semtune.runs.runner import run
from semtune.specs import resolve

from ..runs.test_runner import Silent

RATES = Rates(((1.0, 1e9),), ((1.0, 1e9),), 1e9, 1e9, 1e9, 1e9, 1e-6)
HERE = Device("this machine", "cpu", 20 << 30)
RUNTIME = 400_000_000


@pytest.fixture
def spec(tiny_model: Path, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    return RunSpec("table", approach="prompted", model=str(tiny_model), strategy="zero-shot", task_options=options)


def planned(
    spec: RunSpec,
    device: Device = HERE,
    *,
    runtime_bytes: int = RUNTIME,
    predicted: Sequence[Sequence[Example]] | None = None,
    **options: Any,
) -> Plan:
    resolved = resolve(
        RunSpec(
            spec.task,
            approach="prompted",
            model=spec.model,
            strategy=spec.strategy,
            task_options=spec.task_options,
            strategy_options=options,
        )
    )
    task = TASKS.get(spec.task)(spec.task_options)
    data = PromptingData(TaskContext.of(task), task.load("train"), predicted or [task.load("dev"), task.load("test")])
    return plan_prompting(resolved, data, device, RATES, runtime_bytes)[0]


def test_a_plan_says_what_a_run_takes(spec: RunSpec, tmp_path: Path) -> None:
    """The model is so small that the runtime is most of both; 20% is what larger runs were off."""
    result = run(resolve(spec), tmp_path / "run", Silent())
    assert result.status == "ok"
    assert result.predicted_peak_bytes == {}, "a small prompted run starts and ends without a plan"
    plan = planned(spec, runtime_bytes=result.runtime_bytes)
    assert set(plan.peak_bytes) == set(result.peak_bytes)
    for phase, measured in result.peak_bytes.items():
        assert plan.peak_bytes[phase] == pytest.approx(measured, rel=0.2)


def test_a_prompted_run_that_cannot_fit_is_a_result_with_its_plan(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("semtune.plan.requests", "semtune.runs.guard"):
        monkeypatch.setattr(f"{module}.local_device", lambda *_: Device("this machine", "cpu", 100_000_000))
    monkeypatch.setattr("semtune.approaches.prompted.Prompted.load", lambda self: pytest.fail("it was loaded"))
    result = run(resolve(spec), tmp_path / "run", Silent())
    assert result.status == "does_not_fit"
    assert result.reason is not None and "prompt_tokens" in result.reason
    assert max(result.predicted_peak_bytes.values()) > 100_000_000
    assert (result.predicted_seconds_per_example or 0) > 0


def test_more_texts_of_a_split_have_a_larger_cache(spec: RunSpec) -> None:
    """But less than in proportion, as what prompts begin alike with is kept once."""
    text = Example("1", "warm soup", None)
    few, many = (planned(spec, predicted=[[text] * count]) for count in (4, 8))
    assert 0 < (few.cache_bytes or 0) < (many.cache_bytes or 0) < 2 * (few.cache_bytes or 0)


def test_longer_completions_take_more_memory_and_time(spec: RunSpec) -> None:
    short, long = (planned(spec, answer="free", answer_tokens=n) for n in (4, 400))
    assert long.peak_bytes["evaluate"] > short.peak_bytes["evaluate"]
    assert (long.seconds_per_example or 0) > (short.seconds_per_example or 0) > 0
    assert long.peak_bytes["load"] == short.peak_bytes["load"]


def test_a_threshold_is_chosen_with_the_memory_of_predicting(spec: RunSpec) -> None:
    ranked = planned(spec, answer="yes-no")
    assert ranked.seconds_per_example
    assert ranked.peak_bytes["evaluate"] > RUNTIME


def test_a_card_has_its_context(spec: RunSpec) -> None:
    on_card = planned(spec, parse_device("12GB", HERE))
    assert on_card.fits
    assert 0.75 * (1 << 30) < min(on_card.peak_bytes.values()) < 2 << 30


@pytest.mark.parametrize(
    ("name", "options", "kinds", "prompts"),
    [
        ("zero-shot", {}, ["generated"], [1]),
        ("zero-shot", {"answer": "yes-no"}, ["scored"], [1]),
        ("chain-of-thought", {}, ["generated", "generated"], [1, 1]),
        ("self-consistency", {"chains": 3}, ["generated"] * 4, [3, 1, 1, 1]),
    ],
)
def test_the_calls_of_a_strategy(name: str, options: dict[str, Any], kinds: list[str], prompts: list[int]) -> None:
    space = TargetSpace("label_set", ("good", "bad"))
    strategy_class = STRATEGIES.get(name)
    strategy = strategy_class(TaskContext("it", space, ()), ReportPrompt(space), strategy_class.Settings(**options))
    calls = calls_of(strategy, Example("1", "warm soup", None), ApproximateTokenizer(1000), 8)
    assert ["scored" if call.completions else "generated" for call in calls] == kinds
    assert [len(call.prompts) for call in calls] == prompts


def test_what_texts_share_and_what_a_text_continues_is_computed_once() -> None:
    stem, thought = list(range(100)), list(range(200, 220))
    texts = [
        [PromptCall([[*stem, n]], 20, True, [thought]), PromptCall([[*stem, n, *thought, 7]], 5, False)]
        for n in (1000, 2000)
    ]
    tokens = tokens_per_text(texts, usual_answer_tokens=3)
    assert tokens.generated == 20 + 3
    assert tokens.prompt < 2 * len(stem)
