"""The split maker: no leaks, wanted sizes, every label trained on, the same whatever the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.errors import DataError
from semtune.records import Example, LabelSet, SingleLabel
from semtune.tasks.splits import make_splits

FRACTIONS = {"dev": 0.1, "test": 0.2}


def examples(labels: list[tuple[str, ...]]) -> list[Example]:
    return [Example(id=str(i), text=f"text {i}", target=LabelSet(found)) for i, found in enumerate(labels)]


def ids(splits: dict[str, list[Example]]) -> dict[str, set[str]]:
    return {name: {e.id for e in held} for name, held in splits.items()}


def test_stratified() -> None:
    splits = make_splits(examples([("a",)] * 100 + [("b",)] * 50 + [("c",)] * 10), FRACTIONS, seed=0)
    counts = {name: Counter(e.labels[0] for e in held if e.labels) for name, held in splits.items()}
    for label, total in (("a", 100), ("b", 50), ("c", 10)):
        for name, share in (("train", 0.7), *FRACTIONS.items()):
            assert abs(counts[name][label] - share * total) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from("abcde"), max_size=3).map(lambda s: tuple(sorted(s))), min_size=30, max_size=80),
    st.integers(0, 5),
)
def test_partition_sizes_and_labels(labels: list[tuple[str, ...]], seed: int) -> None:
    rows = examples(labels)
    splits = make_splits(rows, FRACTIONS, seed)
    assert sorted(e.id for held in splits.values() for e in held) == sorted(e.id for e in rows)
    for name, share in FRACTIONS.items():
        # Five labels' first texts go to train whatever its share, and are made up for later where there is room.
        assert abs(len(splits[name]) - share * len(rows)) <= 2
    trained = {label for e in splits["train"] for label in e.labels or ()}
    assert trained == {label for found in labels for label in found}


def test_same_for_any_order_of_rows_and_other_for_another_seed() -> None:
    rows = examples([("a",)] * 20 + [("b", "c")] * 15 + [()] * 15)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert ids(make_splits(rows, FRACTIONS, 3)) == ids(make_splits(shuffled, FRACTIONS, 3))
    assert ids(make_splits(rows, FRACTIONS, 3)) != ids(make_splits(rows, FRACTIONS, 4))


def test_equal_texts_stay_together() -> None:
    texts = ("same text", "Same  Text")
    rows = [Example(str(i), f"{texts[i % 2]} {i // 3}", SingleLabel("ab"[i % 2])) for i in range(90)]
    splits = make_splits(rows, FRACTIONS, 0)
    where: dict[str, set[str]] = {}
    for name, held in splits.items():
        for e in held:
            where.setdefault(" ".join(e.text.lower().split()), set()).add(name)
    assert all(len(names) == 1 for names in where.values())


def test_a_label_that_occurs_once_is_trained_on() -> None:
    rows = examples([("a",)] * 30 + [("rare",)])
    assert any(e.labels == ("rare",) for e in make_splits(rows, FRACTIONS, 0)["train"])


@pytest.mark.parametrize("labels", [[("a",)] * 2, [(str(i),) for i in range(20)]])
def test_too_few(labels: list[tuple[str, ...]]) -> None:
    with pytest.raises(DataError, match=r"different texts are too few to split into train, dev, test"):
        make_splits(examples(labels), FRACTIONS, 0)
