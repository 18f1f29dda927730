"""What every registered strategy promises, on a tiny model: answers, saving, and what it must not look at."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semtune.approaches.prompted import Prompted
from semtune.contracts import TaskContext
from semtune.records import Example, LabelSet, Metric, Prediction, RunSpec, Scores, TargetSpace
from semtune.registry import STRATEGIES
from semtune.report.transcripts import printable, write_pages
from semtune.report.view import view_of
from semtune.specs import resolve

from .conftest import LABELS, TEXTS, examples

VARIANTS = [
    *((name, {}) for name in STRATEGIES),
    ("zero-shot", {"definitions": "without"}),
    ("retrieval", {"neighbours": "hidden-states"}),
    ("knn-vote", {"neighbours": "hidden-states"}),
]
SMALL = {"thought_tokens": 8, "chains": 2, "breadth": 2, "depth": 2, "tree_tokens": 64, "prompt_tokens": 4000}
"""Values that keep a strategy with such options quick."""
DEV = [Example(f"d{i}", f"{text}, they say of {i}", LabelSet(("odd",))) for i, (text, _) in enumerate(TEXTS[:3])]


class Watch:
    """A `contracts.FitWatch` that is asked for a threshold alone."""

    def choose_threshold(self, dev, probabilities) -> float:
        return 0.5


def score(gold: list[Example], predictions: list[Prediction]) -> Scores:
    raise AssertionError("no strategy of these variants chooses by score")


def made(name: str, options: dict, model: Path, context: TaskContext) -> Prompted:
    known = {f.name for f in dataclasses.fields(STRATEGIES.get(name).Settings)}
    asked = {**{key: value for key, value in SMALL.items() if key in known}, **options}
    spec = RunSpec(
        "practice", approach="prompted", model=str(model), strategy=name, strategy_options=asked,
        method_options={"precision": "fp32"},  # in bf16 the batch moves a random model's answers
    )  # fmt: skip
    approach = Prompted(resolve(spec), context)
    approach.load()
    return approach


@pytest.fixture(scope="module")
def context() -> TaskContext:
    metric = Metric("micro_f1", "micro-F1")
    return TaskContext("it", TargetSpace("label_set", LABELS), (metric,), {"good": "it pleases"}, score)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A fitted approach with what it said of DEV, and another one of the same options that is not fitted."""

    fitted: Prompted
    other: Prompted
    predictions: list[Prediction]
    lines: list[dict]


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1].values()]), scope="module")
def variant(
    request, tiny_model: Path, context: TaskContext, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Variant]:
    name, options = request.param
    approach = made(name, options, tiny_model, context)
    approach.fit(examples(), DEV, Watch())
    predictions = approach.predict(DEV)
    lines = transcripts(approach, tmp_path_factory.mktemp("said"))
    yield Variant(approach, made(name, options, tiny_model, context), predictions, lines)


def transcripts(approach: Prompted, folder: Path) -> list[dict]:
    """The transcript's lines of the last predict, without seconds and gold targets."""
    file = folder / "transcripts.jsonl"
    file.unlink(missing_ok=True)
    approach.write_extras(folder, "dev")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line.pop("gold", None)
        for call in line["calls"]:
            assert call.pop("seconds") >= 0
    return lines


def assert_close(one: Any, other: Any) -> None:
    """Equal but for the last bits of numbers, which depend on what is multiplied in one batch."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_close(a, b)
    else:
        assert one == (pytest.approx(other, rel=1e-5, abs=1e-5) if isinstance(other, float) else other)


def test_it_answers_every_text_with_labels_of_the_task(variant: Variant) -> None:
    assert [p.id for p in variant.predictions] == [e.id for e in DEV]
    assert all(set(p.labels) <= set(LABELS) for p in variant.predictions)


def test_a_transcript_has_every_text_and_what_led_to_its_answer(variant: Variant) -> None:
    assert [(line["split"], line["id"]) for line in variant.lines] == [("dev", e.id) for e in DEV]
    for example, line in zip(DEV, variant.lines, strict=True):
        assert line["calls"] or line["notes"]
        assert all(call["tokens"][0] > 0 for call in line["calls"])
        assert not line["calls"] or any(example.text in call["prompt"] for call in line["calls"])


def test_a_transcript_becomes_a_page(variant: Variant, tmp_path: Path) -> None:
    """Texts, gold, predictions, prompts and all that was noted are on it, whatever the strategy notes."""
    run = {"out": "run", "approach": "prompted", "name": variant.fitted.name, "seed": 0, "status": "ok"}
    choices = dict.fromkeys(("task", "model", "method", "prompt", "readout", "preset"), "")
    (tmp_path / "run").mkdir()
    variant.fitted.predict(DEV)
    variant.fitted.write_extras(tmp_path / "run", "dev")
    (found,) = write_pages(view_of({"task": "it", "runs": [choices | run]}), tmp_path)
    page = html.unescape((tmp_path / found.page).read_text(encoding="utf-8"))
    right = 0
    for example, prediction, line in zip(DEV, variant.predictions, variant.lines, strict=True):
        assert f"Predicted: <bdi>{', '.join(prediction.labels) or 'no label'}</bdi> · gold: <bdi>odd</bdi>" in page
        assert f'<div class="text quote">{example.text}</div>' in page
        right += prediction.labels == ("odd",)
        assert page.count("Call ") == sum(len(line["calls"]) for line in variant.lines)
        for words in (word for note in line.get("notes", ()) for word in strings(note)):
            assert printable(words) in page
        for call in line["calls"]:
            assert printable(call.get("completion", "")) in page
    assert found.total == len(DEV)
    assert f"Right: {right} of the {len(DEV)} with known gold." in page


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def test_saved_and_loaded_it_answers_the_same_to_the_bit(variant: Variant, tmp_path: Path) -> None:
    variant.fitted.save(tmp_path / "fitted")
    variant.other.restore(tmp_path / "fitted")
    assert variant.other.predict(DEV) == variant.predictions
    assert transcripts(variant.other, tmp_path) == variant.lines


def test_neither_targets_nor_the_other_texts_change_an_answer(variant: Variant, tmp_path: Path) -> None:
    without = [dataclasses.replace(e, target=None) for e in DEV]
    assert variant.fitted.predict(without[::-1])[::-1] == variant.predictions
    assert_close(transcripts(variant.fitted, tmp_path)[::-1], variant.lines)
    assert variant.fitted.predict([without[1]]) == [variant.predictions[1]]


def test_fitting_is_the_same_whatever_the_targets_of_dev(variant: Variant) -> None:
    others = [dataclasses.replace(e, target=LabelSet(("bad",))) for e in DEV]
    variant.other.fit(examples(), others, Watch())
    assert variant.other.predict(DEV[:1]) == variant.predictions[:1]
