"""Texts that two splits share are counted, named and, where they are many test texts, refused."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Sequence

import pytest

from semtune.errors import DataError
from semtune.records import Example, SingleLabel
from semtune.tasks.overlap import SIMILARITY, check_overlaps, normal_form, overlaps

SENTENCES = (
    "The ferry to Norbury leaves at noon and comes back when the tide allows it.",
    "Nobody in the valley has seen the old baker since the snow began to melt.",
    "Two goats, one fiddle and a cartload of plums were sold before breakfast.",
)


def examples(split: str, texts: Sequence[str], labelled: bool = True) -> list[Example]:
    return [Example(f"{split}-{i}", text, SingleLabel("a") if labelled else None) for i, text in enumerate(texts)]


def counted(train: Sequence[str], test: Sequence[str]) -> tuple[int, int]:
    """(exact, near) of test in train."""
    found = overlaps({"train": examples("train", train), "test": examples("test", test)})
    return (found[0].exact, found[0].near) if found else (0, 0)


@pytest.mark.parametrize(
    ("changed", "exact", "near"),
    [
        (SENTENCES[0], 1, 0),
        (f"  {SENTENCES[0].upper()}\n", 1, 0),
        (SENTENCES[0].replace(" ", "  ").rstrip("."), 1, 0),
        (SENTENCES[0].replace("noon", "seven"), 0, 1),
        ("Ah: " + SENTENCES[0], 0, 1),
        (SENTENCES[0] + " Well!", 0, 1),
        ("The ferry to Norbury sinks.", 0, 0),
        ("no", 0, 0),
    ],
)
def test_the_same_and_nearly_the_same(changed: str, exact: int, near: int) -> None:
    assert counted(SENTENCES, [changed]) == (exact, near)


def test_texts_of_signs_alone_are_told_apart() -> None:
    assert normal_form("?!") != normal_form("!!")
    assert normal_form("good 👍") != normal_form("good 👎")
    assert normal_form("①") == normal_form("1")
    assert counted(["!!!", "😀"], ["???", "😀"]) == (1, 0)


def test_near_ones_are_those_that_a_comparison_of_all_pairs_finds() -> None:
    """The oracle: the Jaccard similarity of character 5-grams, written down once more, over every pair."""
    draw = random.Random(0)
    train = ["".join(draw.choices(string.ascii_lowercase[:6] + " ", k=60)).strip() or "x" for _ in range(60)]
    test = []
    for text in train:
        letters = list(text)
        for _ in range(draw.randrange(4)):
            letters[draw.randrange(len(letters))] = draw.choice("xyz")
        test.append("".join(letters))

    def grams(text: str) -> set[str]:
        form = normal_form(text)
        return {form[i : i + 5] for i in range(len(form) - 4)} or {form}

    def similar(one: str, other: str) -> bool:
        a, b = grams(one), grams(other)
        return len(a & b) / len(a | b) >= SIMILARITY

    forms = {normal_form(text) for text in train}
    exact = sum(normal_form(text) in forms for text in test)
    near = sum(normal_form(text) not in forms and any(similar(text, other) for other in train) for text in test)
    assert near > 5
    assert counted(train, test) == (exact, near)


def test_every_pair_of_splits_is_compared_and_equal_ones_are_named() -> None:
    splits = {
        "train": examples("train", SENTENCES), "dev": examples("dev", reversed(SENTENCES)),
        "test": examples("test", [SENTENCES[0], "Something else altogether, with many other words."]),
    }  # fmt: skip
    found = overlaps(splits)
    assert [(o.split, o.other, o.exact) for o in found] == [
        ("test", "train", 1), ("test", "dev", 1), ("dev", "train", 3),
    ]  # fmt: skip
    assert found[2].sentence().startswith("the dev split has the same 3 texts as the train split: the epoch is chosen")
    assert "1 of 2 test texts is also in train (1 the same; test-0 is train-0)" in found[0].sentence()


def test_a_labelled_test_that_was_trained_on_is_refused() -> None:
    train = examples("train", [f"{word} in the garden of the old house" for word in string.ascii_lowercase])
    leaky = {"train": train, "dev": [], "test": examples("test", [e.text for e in train[:2]])}
    with pytest.raises(DataError, match=r"2 of 2 test texts are also in train .*--allow-overlap"):
        check_overlaps(overlaps(leaky), leaky, ())
    check_overlaps(overlaps(leaky), leaky, ("dev", "test"))
    unlabelled = leaky | {"test": examples("test", [e.text for e in train[:2]], labelled=False)}
    check_overlaps(overlaps(unlabelled), unlabelled, ())
    few = {"train": train[:1], "test": examples("test", [train[0].text, *(f"{i} " * 20 for i in range(19))])}
    assert overlaps(few)[0].exact == 1
    check_overlaps(overlaps(few), few, ())


def test_the_time_grows_with_the_texts_not_with_their_pairs() -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(500)]

    def seconds(count: int) -> float:
        texts = [" ".join(draw.choices(words, k=15)) for _ in range(2 * count)]
        started = time.process_time()
        counted(texts[:count], texts[count:])
        return time.process_time() - started

    seconds(50)
    assert seconds(1600) < 8 * 4 * max(seconds(200), 0.01), "64 times as many pairs"
