"""A prompted model through the runner, on a tiny random model: answers, transcripts, reading back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from semtune.approaches.prompted import Prompted
from semtune.contracts import PromptParts, TaskContext
from semtune.errors import DataError, ModelError, OptionError, UnknownNameError
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, Prediction, RunSpec, SingleLabel, TargetSpace, TaskOptions
from semtune.registry import STRATEGIES, TASKS
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import resolve, with_changes
from semtune.strategies.zero_shot import ZeroShot

from ..runs.test_runner import Silent

SPACE = TargetSpace("label_set", ("good", "bad"))


class Scripted:
    """A generator that answers with the next of some texts and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.parts: list[PromptParts] = []

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        self.parts.append(parts)
        return (1, 2, 3)

    def generate(self, prompts, max_new_tokens, constraint=None) -> list[str]:
        assert constraint == "constraint"
        assert max_new_tokens > len(" good, bad")
        return [self.answers.pop(0) for _ in prompts]

    def label_constraint(self, grammar) -> str:
        return "constraint"


def zero_shot(space: TargetSpace = SPACE, definitions: dict[str, str] | None = None) -> ZeroShot:
    context = TaskContext("it", space, (), definitions or {})
    return ZeroShot(context, ReportPrompt(space), ZeroShot.Settings())


def test_a_prompt_holds_the_definitions_before_the_text_and_never_the_gold_labels() -> None:
    generator = Scripted(" good")
    strategy = zero_shot(definitions={"good": "it pleases"})
    prediction = strategy.run(Example("1", "warm soup", SingleLabel("bad")), generator)
    (parts,) = generator.parts
    assert "- good: it pleases\n- bad\n" in parts.prefix
    assert (parts.text, parts.completion) == ("warm soup", None)
    assert (prediction.labels, prediction.parsed, prediction.raw) == (("good",), True, " good")
    assert prediction.probabilities is None


def test_a_strategy_is_read_back_with_its_definitions(tmp_path: Path) -> None:
    zero_shot(definitions={"bad": "it does not please"}).save(tmp_path)
    again = zero_shot()
    again.load(tmp_path)
    generator = Scripted(" No technique")
    assert again.run(Example("1", "soup", None), generator).labels == ()
    assert "- bad: it does not please" in generator.parts[0].prefix
    (tmp_path / "zero_shot.json").write_text("{}")
    with pytest.raises(ModelError, match=r"zero_shot\.json"):
        again.load(tmp_path)


@pytest.fixture
def spec(tiny_model: Path, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    return RunSpec("table", approach="prompted", model=str(tiny_model), strategy="zero-shot", task_options=options)


def parameters_of(model: str) -> int:
    return sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(model).parameters())


def test_parameters_in_4_bits_count_too(spec: RunSpec, tmp_path: Path) -> None:
    result = run(with_changes(spec, {"precision": "nf4"}), tmp_path / "run", Silent())
    assert result.total_parameters == parameters_of(spec.model)


def test_a_prompted_run_leaves_a_whole_folder_and_can_be_used(spec: RunSpec, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(spec, out, Silent())
    assert (result.status, result.approach, result.name, result.method) == ("ok", "prompted", "zero-shot", "")
    assert result.trainable_parameters == 0
    assert result.total_parameters == parameters_of(spec.model)
    assert set(result.scores) == {"dev", "test"}
    assert set(result.peak_bytes) == {"load", "train", "evaluate"}
    assert all(scores.parse_failures == 0 for scores in result.scores.values()), "answers are constrained"
    usage = result.usage
    assert usage is not None
    task = TASKS.get("table")(spec.task_options)
    lines = [json.loads(line) for line in (out / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["split"], line["id"]) for line in lines] == [(s, e.id) for s in ("dev", "test") for e in task.load(s)]
    for line in lines:
        (call,) = line["calls"]
        assert call["prompt"].endswith("<tech:>")
        assert call["completion"] in (" good", " bad")
        assert call["tokens"][0] > call["tokens"][1] > 0
        assert call["seconds"] > 0
    tokens = [call["tokens"] for line in lines for call in line["calls"]]
    assert (usage.texts, usage.requests, usage.kept_requests) == (len(lines), len(lines), 0)
    assert [usage.prompt_tokens, usage.completion_tokens] == [sum(side) for side in zip(*tokens, strict=True)]
    again = load_run(out).predict(task.load("test"))
    assert [p.labels for p in again] == [p.labels for p in task.read_predictions(out / "predictions-test.json")]


class TwoSteps(ZeroShot):
    """Asks freely, then under the grammar behind its own answer, and scores the labels."""

    name = "two-steps"

    def run(self, example: Example, generator) -> Prediction:
        parts = self.prompt.encode(Example(example.id, example.text, None))
        ids = list(generator.encode(replace(parts, prefix="What is its mood?\n" * 8), 500))
        (thought,) = generator.generate([ids], 5)
        answer = super().run(example, generator)
        generator.loglikelihood([[*ids, *generator.encode(PromptParts("", thought, "", None), 50)]], [" good", " bad"])
        return answer


def test_examples_run_together_as_they_do_alone(spec: RunSpec, tmp_path: Path) -> None:
    """Predictions, and transcripts with all calls of each example in their order."""
    STRATEGIES.register("two-steps", TwoSteps, "of a test")
    try:
        exact = replace(spec, strategy="two-steps", method_options={"precision": "fp32"})
        prompted = Prompted(resolve(exact), TaskContext.of(TASKS.get("table")(spec.task_options)))
        prompted.load()
    finally:
        STRATEGIES.unregister("two-steps")
    examples = [
        Example(str(i), f"{word} soup", None) for i, word in enumerate(["warm", "cold", "warm", "old", "my"] * 9)
    ]
    done: list[int] = []

    def calls() -> list[dict]:
        prompted.write_extras(tmp_path, "new")
        lines = (tmp_path / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
        (tmp_path / "transcripts.jsonl").unlink()
        return [json.loads(line) for line in lines]

    together = prompted.predict(examples, done.append)
    transcripts = calls()
    assert sum(done) == len(examples) and max(done) == 1
    for example, prediction, transcript in zip(examples[:5], together, transcripts, strict=False):
        assert prompted.predict([example]) == [prediction]
        (alone,) = calls()
        assert alone["id"] == transcript["id"] and len(alone["calls"]) == 3
        for a, b in zip(alone["calls"], transcript["calls"], strict=True):
            assert b.pop("seconds") > 0 and a.pop("seconds") > 0
            assert b.pop("loglikelihoods", [0]) == pytest.approx(a.pop("loglikelihoods", [0]), abs=1e-4)
            assert a == b
    assert [t["id"] for t in transcripts] == [e.id for e in examples]


def test_texts_that_the_strategy_cuts_are_said_with_its_own_limit(spec: RunSpec, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    options = "Which one of these labels applies to the text below?\n- bad\n- good\n\nText: "
    limit = len(tokenizer(options + " <tech:>").input_ids) + 4
    result = run(replace(spec, strategy_options={"prompt_tokens": limit}), tmp_path / "run", Silent())
    cut = result.cut_texts["test"]
    assert (cut.max_length, cut.texts) == (limit, cut.examples)
    assert f"longer than the strategy's limit of {limit} allows" in cut.sentence("test texts")
    with pytest.raises(DataError, match=r"more than 20 tokens even without its text; raise the strategy's limit"):
        run(replace(spec, strategy_options={"prompt_tokens": 20}), tmp_path / "other", Silent())


def test_text_cannot_forge_special_tokens(spec: RunSpec, tmp_path: Path) -> None:
    run(spec, tmp_path / "run", Silent())
    prompted = load_run(tmp_path / "run")
    prompted.predict([Example("1", "soup</s>", None)])
    prompted.write_extras(tmp_path, "new")
    (line,) = (tmp_path / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    assert "soup</s> <tech:>" in json.loads(line)["calls"][0]["prompt"], "spelt out: special tokens decode to nothing"


def test_what_is_missing_or_unknown_is_said(spec: RunSpec) -> None:
    with pytest.raises(OptionError, match="needs a strategy"):
        resolve(replace(spec, strategy=None))
    with pytest.raises(UnknownNameError, match='did you mean "zero-shot"'):
        resolve(replace(spec, strategy="zeroshot"))
    with pytest.raises(UnknownNameError, match='did you mean "prompted"'):
        resolve(replace(spec, approach="promted"))
