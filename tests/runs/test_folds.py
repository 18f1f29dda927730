"""A run of one fold of a cross-validation: what it trains on, what is its dev split, and that test is left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from semtune.errors import DataError, OptionError
from semtune.records import Example, RunSpec, SingleLabel, TaskOptions
from semtune.registry import TASKS
from semtune.runs.data import load_data
from semtune.runs.folds import shared_texts_notes, train_and_dev
from semtune.runs.runner import run
from semtune.specs import resolve
from semtune.tasks.splits import make_folds

from .test_runner import Silent


def test_each_example_of_train_and_dev_is_once_in_dev() -> None:
    task = TASKS.get("practice")(RunSpec("practice").task_options)
    texts = sorted(e.text for split in ("train", "dev") for e in task.load(split))
    found = [load_data(RunSpec("practice", fold=f"{number}/3")) for number in (1, 2, 3)]
    assert sorted(e.text for data in found for e in data.dev) == texts
    for data in found:
        assert sorted(e.text for e in (*data.train, *data.dev)) == texts
        assert data.final == {"dev": data.dev}
        assert data.fingerprint == load_data(RunSpec("practice")).fingerprint


def test_folds_are_stratified_and_equal_texts_stay_together() -> None:
    rows = [Example(str(i), f"text {i // 2}", SingleLabel("aab"[i // 2 % 3])) for i in range(90)]
    for part in make_folds(rows, 3, 0):
        assert Counter(e.labels[0] for e in part if e.labels) == {"a": 20, "b": 10}
        assert all(count == 2 for count in Counter(e.text for e in part).values())


def test_ids_that_both_splits_have_stay_apart() -> None:
    train = [Example(str(i), f"one {i}", SingleLabel("a")) for i in range(4)]
    dev = [Example(str(i), f"two {i}", SingleLabel("a")) for i in range(3, 6)]
    kept, held_out = train_and_dev("1/2", train, dev)
    ids = [e.id for e in (*kept, *held_out)]
    assert len(set(ids)) == 7
    assert {"train:3", "dev:3", "0", "5"} <= set(ids)


@pytest.mark.parametrize("fold", ["0/3", "4/3", "1/1", "1", "a/b", "1/101", ""])
def test_a_fold_that_is_none_is_refused_with_one_that_would_do(fold: str) -> None:
    with pytest.raises(OptionError, match="such as 1/3 for the first of three"):
        resolve(RunSpec("practice", fold=fold))


def test_more_folds_than_texts_are_refused() -> None:
    with pytest.raises(DataError, match="too few for 5 folds"):
        train_and_dev("1/5", [Example("1", "one", SingleLabel("a"))], [Example("2", "two", SingleLabel("a"))])


def test_a_run_of_a_fold_is_scored_on_its_part_alone(tmp_path: Path) -> None:
    spec = RunSpec("practice", approach="baseline", baseline="top-1", fold="2/3")
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "ok"
    assert set(result.scores) == {"dev"}
    assert not (tmp_path / "run" / "predictions-test.json").exists()


WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "junco", "kelp", "lichen")
"""Beginnings of texts that are not like one another."""


def given_splits(folder: Path) -> RunSpec:
    """Train and dev in which every text has a near-duplicate, and a test split of texts of train."""
    texts = {word: f"{word} {word[::-1]} {word * 3} {word[::-1] * 3} and so on and on" for word in WORDS}
    rows = {
        "data": [f"{text},{'ab'[i % 2]}" for i, text in enumerate(texts.values())],
        "dev_data": [f"{text} again,{'ab'[i % 2]}" for i, text in enumerate(texts.values())],
        "test_data": [f"{text},{'ab'[i % 2]}" for i, text in enumerate(texts.values())],
    }
    for name, held in rows.items():
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *held]), encoding="utf-8")
    options = TaskOptions(**{name: str(folder / f"{name}.csv") for name in rows})
    return RunSpec("table", task_options=options, fold="1/3")


def test_a_fold_is_looked_at_for_shared_texts_as_it_is_and_not_for_those_of_test(tmp_path: Path) -> None:
    data = load_data(given_splits(tmp_path))
    (overlap,) = data.overlaps
    trained = {e.text.split()[0] for e in data.train}
    twice = sum(e.text.split()[0] in trained for e in data.dev)
    assert (overlap.split, overlap.other, overlap.examples, overlap.near) == ("dev", "train", len(data.dev), twice)
    assert twice > 0 and "dev is scored, on texts that were trained on" in overlap.sentence()
    assert data.fold_notes == (
        f"fold 1/3 of train and dev together: {len(data.train)} texts to train on, {len(data.dev)} held out as dev; "
        "test is not used",
    )


def test_texts_that_folds_share_are_counted_over_all_of_them(tmp_path: Path) -> None:
    spec = given_splits(tmp_path)
    task = TASKS.get("table")(spec.task_options)
    train, dev = task.load("train"), task.load("dev")
    (note,) = shared_texts_notes(train, dev, 3)
    parts = [{e.text.split()[0] for e in train_and_dev(f"{n}/3", train, dev)[1]} for n in (1, 2, 3)]
    apart = sum(2 for word in WORDS if sum(word in part for part in parts) == 2)
    assert note.startswith(f"{apart} of 24 texts of train and dev are also in another fold, the same or nearly so")
    assert shared_texts_notes(train, [], 3) == ()
