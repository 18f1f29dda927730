"""What every registered strategy promises, on a tiny model: answers, saving, and what it must not look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from semtune.approaches.prompted import Prompted
from semtune.contracts import IndexingStrategy, TaskContext
from semtune.records import Example, LabelSet, Metric, Prediction, RunSpec, Scores, TargetSpace
from semtune.registry import STRATEGIES
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
DEV = [Example(f"d{i}", f"{text}, they say of {i}", LabelSet(("odd",))) for i, (text, _) in enumerate(TEXTS[:4])]


class Watch:
    """A `contracts.FitWatch` that is asked for a threshold alone."""

    def choose_threshold(self, dev, probabilities) -> float:
        return 0.5


def score(gold: list[Example], predictions: list[Prediction]) -> Scores:
    raise AssertionError("no strategy of these variants chooses by score")


def made(name: str, options: dict, model: Path, context: TaskContext) -> Prompted:
    known = {f.name for f in dataclasses.fields(STRATEGIES.get(name).Settings)}
    asked = {**{key: value for key, value in SMALL.items() if key in known}, **options}
    spec = RunSpec("practice", approach="prompted", model=str(model), strategy=name, strategy_options=asked)
    approach = Prompted(resolve(spec), context)
    approach.load()
    return approach


@pytest.fixture(scope="module")
def context() -> TaskContext:
    metric = Metric("micro_f1", "micro-F1")
    return TaskContext("it", TargetSpace("label_set", LABELS), (metric,), {"good": "it pleases"}, score)


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *v[1].values()]), scope="module")
def variant(request, tiny_model: Path, context: TaskContext) -> Iterator[tuple[Prompted, Prompted]]:
    """A fitted approach, and another one of the same options that is not fitted."""
    name, options = request.param
    approach = made(name, options, tiny_model, context)
    approach.fit(examples(), DEV, Watch())
    yield approach, made(name, options, tiny_model, context)


def transcripts(approach: Prompted, folder: Path) -> list[dict]:
    """The transcript's lines of the last predict, without seconds."""
    file = folder / "transcripts.jsonl"
    file.unlink(missing_ok=True)
    approach.write_extras(folder, "dev")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        for call in line["calls"]:
            assert call.pop("seconds") >= 0
    return lines


def test_it_answers_every_text_with_labels_of_the_task(variant: tuple[Prompted, Prompted], tmp_path: Path) -> None:
    approach, _ = variant
    predictions = approach.predict(DEV)
    assert [p.id for p in predictions] == [e.id for e in DEV]
    assert all(set(p.labels) <= set(LABELS) for p in predictions)
    lines = transcripts(approach, tmp_path)
    assert [(line["split"], line["id"]) for line in lines] == [("dev", e.id) for e in DEV]
    for example, line in zip(DEV, lines, strict=True):
        assert line["calls"] or line["notes"], "a transcript says what led to the answer"
        assert all(call["tokens"][0] > 0 for call in line["calls"])
        assert not line["calls"] or any(example.text in call["prompt"] for call in line["calls"])


def test_saved_and_loaded_it_answers_the_same_to_the_bit(variant: tuple[Prompted, Prompted], tmp_path: Path) -> None:
    approach, again = variant
    before = approach.predict(DEV)
    said = transcripts(approach, tmp_path)
    approach.save(tmp_path / "fitted")
    again.restore(tmp_path / "fitted")
    assert again.predict(DEV) == before
    assert transcripts(again, tmp_path) == said


def test_it_never_reads_the_targets_of_what_it_predicts(variant: tuple[Prompted, Prompted], tmp_path: Path) -> None:
    approach, _ = variant
    with_targets = approach.predict(DEV)
    said = transcripts(approach, tmp_path)
    without = [dataclasses.replace(e, target=None) for e in DEV]
    assert approach.predict(without) == with_targets
    assert transcripts(approach, tmp_path) == said


def test_an_answer_does_not_depend_on_the_other_texts(variant: tuple[Prompted, Prompted], tmp_path: Path) -> None:
    approach, _ = variant
    together = approach.predict(DEV)
    said = transcripts(approach, tmp_path)
    assert approach.predict(DEV[::-1])[::-1] == together
    assert transcripts(approach, tmp_path)[::-1] == said
    assert approach.predict([DEV[2]]) == [together[2]]


def test_fitting_is_the_same_whatever_the_targets_of_dev(
    variant: tuple[Prompted, Prompted], tiny_model: Path, context: TaskContext
) -> None:
    approach, again = variant
    if isinstance(approach.strategy, IndexingStrategy):
        assert approach.predict(DEV), "indexed by fit"
    again.fit(examples(), [dataclasses.replace(e, target=LabelSet(("bad",))) for e in DEV], Watch())
    assert again.predict(DEV) == approach.predict(DEV)
