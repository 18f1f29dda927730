"""What every registered task must do. A new task needs one line in MAKERS (how to make it in a test)."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from semtune.contracts import Task
from semtune.errors import DataError, OptionError
from semtune.records import Example, Prediction, TargetKind, TaskOptions, label_target
from semtune.registry import TASKS


def semeval(request: pytest.FixtureRequest) -> Task:
    folder: Path = request.getfixturevalue("semeval_data")
    return TASKS.get("semeval2021-task6-subtask1")(TaskOptions(data_dir=str(folder)))


def practice(request: pytest.FixtureRequest) -> Task:
    if not (importlib.resources.files("semtune.tasks") / "practice_data" / "train.jsonl").is_file():
        pytest.skip("the practice texts are not written yet")
    return TASKS.get("practice")(TaskOptions())


def table(request: pytest.FixtureRequest) -> Task:
    path: Path = request.getfixturevalue("tmp_path") / "reviews.csv"
    moods = ["good", "bad", "so, so", "café"]
    lines = [f'"review {i}, with a comma","{moods[i % 4]}"' for i in range(40)]
    path.write_text("\n".join(["comment,mood", *lines]), encoding="utf-8")
    return TASKS.get("table")(TaskOptions(data=str(path), text_column="comment", label_column="mood"))


MAKERS: dict[str, Callable[[pytest.FixtureRequest], Task]] = {
    "semeval2021-task6-subtask1": semeval,
    "practice": practice,
    "table": table,
}

# Ids that the publishers of a corpus put into two splits; a task of ours has none.
SHARED_AS_PUBLISHED = {"semeval2021-task6-subtask1": {"474_batch_2"}}


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return MAKERS[request.param](request)


def gold_of(task: Task, split: str) -> list[Example]:
    examples = task.load(split)
    if any(e.labels is None for e in examples):
        pytest.skip(f"the {split} split is unlabelled here")
    return examples


def perfect(gold: list[Example], kind: TargetKind = "label_set") -> list[Prediction]:
    return [Prediction(id=e.id, output=label_target(kind, e.labels or ())) for e in gold]


def test_the_label_space(task: Task) -> None:
    assert TASKS.check(task.name)
    assert task.labels and len(set(task.labels)) == len(task.labels)
    assert task.target_kind in ("label_set", "single_label")
    assert isinstance(task.leaderboard, tuple) and isinstance(task.notes, tuple)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_splits_load(task: Task, split: str) -> None:
    examples = task.load(split)
    assert examples and task.load(split) == examples
    assert task.load(split) is not examples  # a caller may shuffle its own list
    assert all(e.text.strip() for e in examples)
    for example in examples:
        if example.labels is None:
            assert split == "test"
        else:
            assert example.labels == tuple(label for label in task.labels if label in example.labels)
            assert task.target_kind == "label_set" or len(example.labels) == 1


def test_ids_are_unique(task: Task) -> None:
    ids = {split: [e.id for e in task.load(split)] for split in ("train", "dev", "test")}
    assert all(len(set(held)) == len(held) for held in ids.values())
    counts = Counter(i for held in ids.values() for i in held)
    assert {i for i, n in counts.items() if n > 1} == SHARED_AS_PUBLISHED.get(task.name, set())


def test_perfect_predictions_score_one(task: Task) -> None:
    gold = gold_of(task, "dev")
    scores = task.score(gold, perfect(gold, task.target_kind)[::-1])
    assert (scores.values["micro_f1"], scores.values["macro_f1"], scores.parse_failures) == (1.0, 1.0, 0.0)
    assert tuple(scores.per_label) == task.labels and scores.examples == len(gold)


def test_wrong_predictions_do_not_score_one(task: Task) -> None:
    gold = gold_of(task, "dev")
    labels = task.labels
    wrong = [
        Prediction(
            e.id, label_target(task.target_kind, (labels[0] if labels[0] not in (e.labels or ()) else labels[1],))
        )
        for e in gold
    ]
    assert task.score(gold, wrong).values["micro_f1"] == 0.0


def test_predictions_round_trip(task: Task, tmp_path: Path) -> None:
    gold = gold_of(task, "dev")
    task.write_predictions(perfect(gold, task.target_kind), tmp_path / "predictions.json")
    back = task.read_predictions(tmp_path / "predictions.json")
    assert back == perfect(gold, task.target_kind)
    assert task.score(gold, back).values["micro_f1"] == 1.0


def test_unlabelled_examples_refuse_scoring(task: Task) -> None:
    unlabelled = [Example(id=e.id, text=e.text, target=None) for e in task.load("test")]
    with pytest.raises(DataError, match=f"^The test split of {task.name} has no gold labels, so it cannot be scored"):
        task.score(unlabelled, perfect(unlabelled))


def test_an_option_without_use_is_refused() -> None:
    with pytest.raises(OptionError, match="no use for --data-dir"):
        TASKS.get("practice")(TaskOptions(data_dir="somewhere"))
    with pytest.raises(OptionError, match="no use for --data-dir"):
        TASKS.get("table")(TaskOptions(data="x.csv", data_dir="somewhere"))
    with pytest.raises(OptionError, match="no use for --split-seed"):
        TASKS.get("practice")(TaskOptions(split_seed=1))
