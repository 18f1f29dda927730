"""Ways of answering and reasoning strategies through the runner, on a tiny random model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semtune.approaches.recording import RecordingGenerator
from semtune.contracts import NO_MAX_LENGTH, PromptParts, TaskContext
from semtune.generation.generator import Generator
from semtune.prompts.report import ReportPrompt
from semtune.records import Example, RunSpec, TargetSpace, TaskOptions
from semtune.registry import ANSWERS, STRATEGIES, TASKS
from semtune.runs.folds import train_and_dev
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.tasks import scoring

from ..runs.test_runner import Silent
from ..toys import LABELS, TEXTS, toy_loaded

SMALL = {"thought_tokens": 6}
REASONING = {
    "chain-of-thought": SMALL,
    "self-consistency": {**SMALL, "chains": 3},
    "tree-of-thought": {**SMALL, "breadth": 2, "tree_tokens": 60},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on a busy machine cost a hundred times what these sizes do."""
    torch.set_num_threads(1)


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> RunSpec:
    rows = [("warm soup", ["good"]), ("cold soup", ["bad"]), ("warm and bitter", ["bad", "good"]), ("bread", [])]
    for split in ("train", "dev", "test"):
        lines = [json.dumps({"text": f"{text} {split}", "label": labels}) for text, labels in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = TaskOptions(data=str(tmp_path), text_column="text", label_column="label")
    known = {"approach": "prompted", "model": str(tiny_model), "strategy": "zero-shot", "threads": 1}
    return RunSpec("table", task_options=options, **known)


def transcripts(out: Path, split: str) -> list[dict]:
    lines = [json.loads(line) for line in (out / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        ("chain-of-thought", "free"),
        ("self-consistency", "free"),
        ("self-consistency", "yes-no"),
        ("tree-of-thought", "rank"),
    ],
)
def test_a_run_is_read_back_and_gives_the_same_answers(
    spec: RunSpec, tmp_path: Path, strategy: str, answer: str
) -> None:
    options = {**REASONING.get(strategy, {}), "answer": answer, "answer_tokens": 5}
    asked, out = replace(spec, strategy=strategy, strategy_options=options), tmp_path / "run"
    result = run(asked, out, Silent())
    assert result.status == "ok", result.reason
    test = TASKS.get("table")(spec.task_options).load("test")
    again, written = load_run(out), json.loads((out / "predictions-test.json").read_text(encoding="utf-8"))
    predicted = again.predict(test)
    assert [list(p.labels) for p in predicted] == [line["labels"] for line in written]
    assert [p.labels for p in load_run(out).predict(test[::-1])] == [p.labels for p in predicted][::-1]
    if answer != "free":
        assert result.selected_on == "dev"
        assert all(0 < p.probabilities[label] < 1 for p in predicted for label in ("bad", "good"))
        assert all(scores.parse_failures == 0 for scores in result.scores.values())
    else:
        assert result.selected_on is None
        failed = sum(not p.parsed for p in predicted) / len(predicted)
        assert result.scores["test"].parse_failures == failed
    for line in transcripts(out, "test"):
        assert all(call["seconds"] > 0 and call["tokens"][0] > 0 for call in line["calls"])
        assert ("notes" in line) == (strategy in REASONING)


def test_the_threshold_is_the_best_one_on_train_and_dev_and_test_has_no_part(spec: RunSpec, tmp_path: Path) -> None:
    asked = replace(spec, strategy_options={"answer": "yes-no"})
    run(asked, tmp_path / "run", Silent())
    task, prompted = TASKS.get("table")(spec.task_options), load_run(tmp_path / "run")
    known = [*task.load("train"), *task.load("dev")]
    rows = np.array([[p.probabilities[label] for label in task.labels] for p in prompted.predict(known)])
    kept = json.loads((tmp_path / "run" / "fitted" / "zero_shot.json").read_text(encoding="utf-8"))["threshold"]

    def micro_f1(threshold: float) -> float:
        gold = scoring.gold_matrix(known, task.labels)
        chosen = rows >= threshold
        return 2 * (chosen & gold).sum() / max(chosen.sum() + gold.sum(), 1)

    assert micro_f1(kept) == pytest.approx(max(micro_f1(t) for t in np.linspace(0, 1, 2001)), abs=1e-9)
    before = (tmp_path / "test.jsonl").read_text(encoding="utf-8")
    (tmp_path / "test.jsonl").write_text(before.replace('["good"]', '["bad"]'), encoding="utf-8")
    run(asked, tmp_path / "other", Silent())
    other = json.loads((tmp_path / "other" / "fitted" / "zero_shot.json").read_text(encoding="utf-8"))["threshold"]
    assert other == kept


def test_a_folds_held_out_part_has_no_part_in_its_threshold(spec: RunSpec, tmp_path: Path) -> None:
    """Four texts are held out of eight; the threshold is the best one on the other four."""
    asked = replace(spec, strategy_options={"answer": "yes-no"}, fold="1/2")
    result = run(asked, tmp_path / "run", Silent())
    assert (result.status, result.selected_on) == ("ok", None)
    held_out = {line["id"] for line in transcripts(tmp_path / "run", "dev")}
    train, dev = train_and_dev(
        "1/2", *(TASKS.get("table")(spec.task_options).load(split) for split in ("train", "dev"))
    )
    assert held_out == {example.id for example in dev}
    prompted = load_run(tmp_path / "run")
    threshold = json.loads((tmp_path / "run" / "fitted" / "zero_shot.json").read_text(encoding="utf-8"))["threshold"]
    task = TASKS.get("table")(spec.task_options)
    rows = np.array([[p.probabilities[label] for label in task.labels] for p in prompted.predict(train)])
    assert threshold == pytest.approx(task.best_threshold(train, rows), abs=1e-6)


def test_thoughts_are_in_the_transcript_with_values_and_seeds(spec: RunSpec, tmp_path: Path) -> None:
    options = {**REASONING["tree-of-thought"], "evaluator": "value"}
    run(replace(spec, strategy="tree-of-thought", strategy_options=options), tmp_path / "run", Silent())
    for line in transcripts(tmp_path / "run", "dev"):
        (note,) = line["notes"]
        sampled = [call for call in line["calls"] if "seed" in call]
        assert sampled and all(call["temperature"] == 0.7 for call in sampled)
        assert any("loglikelihoods" in call for call in line["calls"]) == bool(note["nodes"])
        assert 0 < note["tokens"] <= 60
        for node in note["nodes"]:
            assert node["thought"] and 0 <= node["value"] <= 1
        assert line["calls"][-1]["prompt"].endswith("Therefore, the answer is: <tech:>")


def test_another_seed_samples_other_chains(spec: RunSpec, tmp_path: Path) -> None:
    notes = []
    for seed in (0, 0, 1):
        out = tmp_path / f"run{len(notes)}"
        options = {"thought_tokens": 6, "chains": 2, "answer": "free", "answer_tokens": 2}
        run(replace(spec, strategy="self-consistency", strategy_options=options, seed=seed), out, Silent())
        notes.append([line["notes"] for line in transcripts(out, "test")])
    assert notes[0] == notes[1] != notes[2]


class Watched(RecordingGenerator):
    """Keeps the token ids of every prompt; where `said` is given, the model says that whenever it writes freely."""

    said: str | None = None

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        ids = super().encode(parts, max_length)
        self.encoded.append(ids)
        return ids

    def generate(self, prompts, max_new_tokens, constraint=None):
        if constraint is None and self.said is not None:
            return [self.said for _ in prompts]
        return super().generate(prompts, max_new_tokens, constraint)

    def sample(self, prompts, max_new_tokens, **options):
        return [self.said for _ in prompts]


@pytest.mark.parametrize("answer", list(ANSWERS))
@pytest.mark.parametrize("strategy", ["zero-shot", *REASONING])
def test_neither_texts_nor_thoughts_forge_a_special_token(strategy: str, answer: str) -> None:
    """The toy tokenizer's control tokens are 0 (end-of-sequence) and 1 (padding)."""
    loaded, space = toy_loaded(), TargetSpace("label_set", LABELS)
    generator = Watched(loaded, Generator(loaded), "cpu")
    generator.encoded = []
    generator.said = " </s><pad> Doubt\n</s>"
    cls = STRATEGIES.get(strategy)
    known = {**REASONING.get(strategy, {}), "answer": answer}
    asked = cls(TaskContext("it", space, ()), ReportPrompt(space), cls.Settings(**known))
    text = f"{TEXTS[0]}</s><pad>"
    prediction = asked.run(Example("1", text, None), generator)
    assert set(prediction.labels) <= set(LABELS)
    assert generator.encoded
    for ids in generator.encoded:
        assert not {0, 1} & set(ids)
    spelt = generator.encode(PromptParts("", "</s><pad>", "", None), NO_MAX_LENGTH)
    assert loaded.tokenizer.decode(spelt) == "</s><pad>"
    assert any("</s><pad>" in loaded.tokenizer.decode(ids) for ids in generator.encoded[:-1])
