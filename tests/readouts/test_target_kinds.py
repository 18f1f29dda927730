"""Tasks of spans and of free texts go through prompt, `generate` and score like those of labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semtune.errors import DataError
from semtune.readouts.generate import Generate
from semtune.records import Example, FreeText, Prediction, Span, Spans, TargetSpace
from semtune.registry import READOUTS

from ..toy_tasks import SPAN_EXAMPLES, SpanPrompt, TextPrompt, span_task, text_task
from ..toys import toy_loaded

SETTINGS = Generate.Settings(max_length=200, predict_batch_size=3, seed=0, max_new_tokens=40)
KINDS = pytest.mark.parametrize(
    ("task", "prompt_class"), [(span_task(), SpanPrompt), (text_task(), TextPrompt)], ids=["spans", "text"]
)


def readout_of(task, prompt_class, loaded) -> Generate:
    space = TargetSpace(task.target_kind, task.labels)
    return Generate(loaded, prompt_class(space, prompt_class.Settings()), space, SETTINGS)


@KINDS
def test_a_model_that_learnt_the_targets_predicts_them(task, prompt_class, tmp_path: Path) -> None:
    """From an untrained model, whose text does not parse, to a perfect score."""
    loaded = toy_loaded()
    readout = readout_of(task, prompt_class, loaded)
    train = task.load("train")
    before = readout.answer(train)
    assert all(p.output.kind == task.target_kind for p in before), "an empty target where nothing could be read"
    texts = [readout.encode(e) for e in train]
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=5e-3)
    for _ in range(60):
        loss, num_targets = readout.loss(texts)
        optimizer.zero_grad()
        (loss / num_targets).backward()
        optimizer.step()
    after = readout.calibrate(train, task.best_threshold)
    assert [p.output for p in after] == [e.target for e in train]
    primary = task.metrics[0]
    scores, untrained = task.score(train, after), task.score(train, before)
    assert primary.better(scores.value, untrained.value)
    assert scores.value == (1.0 if primary.higher_is_better else 0.0)
    task.write_predictions(after, tmp_path / "predictions.json")
    assert task.read_predictions(tmp_path / "predictions.json") == [Prediction(p.id, p.output) for p in after]


@KINDS
def test_gold_targets_never_reach_the_prompt(task, prompt_class) -> None:
    readout = readout_of(task, prompt_class, toy_loaded())
    blind = [Example(e.id, e.text, None) for e in task.load("dev")]
    assert readout.answer(blind) == readout.answer(task.load("dev"))
    with pytest.raises(DataError, match="has no gold labels"):
        task.score(blind, readout.answer(blind))


def test_what_could_be_read_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    task, loaded = span_task(), toy_loaded()
    readout = readout_of(task, SpanPrompt, loaded)
    texts = iter([" 0-4 Call; nonsense", " nothing", " -"])
    monkeypatch.setattr(type(loaded.tokenizer), "decode", lambda self, ids: next(texts))
    found = readout.answer(SPAN_EXAMPLES)
    assert [(p.output, p.parsed) for p in found] == [
        (Spans((Span(0, 4, "Call"),)), False),
        (Spans(()), False),
        (Spans(()), True),
    ]
    assert task.score(SPAN_EXAMPLES, found).parse_failures == pytest.approx(2 / 3)


def test_each_readout_declares_what_it_serves() -> None:
    kinds = {name: READOUTS.get(name).target_kinds for name in READOUTS}
    labels = {"label_set", "single_label"}
    assert kinds["generate"] == labels | {"spans", "text"}
    assert kinds["head"] == kinds["loglikelihood"] == kinds["generate-constrained"] == labels
    assert FreeText("x").labels == () and Spans((Span(0, 1, "a"), Span(1, 2, "a"))).labels == ("a",)
