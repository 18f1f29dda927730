"""Neighbours against independent oracles: BM25's formula in fp64, cosines in fp64, scikit-learn's classifier."""

from __future__ import annotations

import builtins
import math
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from semtune.errors import DataError, ModelError, OptionError, UnknownNameError
from semtune.records import Example, LabelSet, SingleLabel
from semtune.strategies._bm25 import Bm25
from semtune.strategies._neighbours import Neighbours
from semtune.strategies._vectors import HiddenStates

from .conftest import LABELS, TEXTS, Remembering, examples, fitted, strategy

WORDS = [text.replace(",", " ").split() for text, _ in TEXTS]


def bm25(query: list[str], texts: list[list[str]], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25 as in table 1 of Kamphuis et al. 2020, "Which BM25 do you mean?"."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for words in texts:
        score = 0.0
        for word in query:
            holding = sum(word in other for other in texts)
            if not holding:
                continue
            idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            frequency = words.count(word)
            score += idf * frequency / (frequency + k1 * (1 - b + b * len(words) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["warm soup for people", "bread bread stone", "COLD, cold; soup!", "unheard of"])
def test_bm25_is_the_formula(query: str) -> None:
    index = Bm25()
    index.index([text for text, _ in TEXTS])
    words = "".join(c if c.isalnum() else " " for c in query.casefold()).split()
    np.testing.assert_allclose(index.similarities(query), bm25(words, WORDS), rtol=1e-6, atol=1e-7)


def test_bm25_of_texts_without_words_is_zero() -> None:
    index = Bm25()
    index.index(["...", "!"])
    assert index.similarities("soup").tolist() == [0, 0]
    index.index(["soup", "!"])
    assert index.similarities("?").tolist() == [0, 0]


def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest, **named):
        if name == "bm25s":
            raise ImportError(name)
        return imported(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match="run pip install bm25s"):
        Bm25().index(["soup"])


def test_embeddings_are_compared_by_cosine_and_saved(tmp_path: Path) -> None:
    generator, texts = Remembering(), [text for text, _ in TEXTS]
    index = HiddenStates()
    index.index(texts, generator)
    vectors = generator.embed(texts).astype(np.float64)
    query = generator.embed(["warm bread"])[0].astype(np.float64)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    found = index.similarities("warm bread", generator)
    np.testing.assert_allclose(found, cosines, rtol=1e-6)
    assert index.similarities("", generator).tolist() == [0] * len(texts), "a zero vector is near to nothing"
    index.save(tmp_path)
    again = HiddenStates()
    again.load(tmp_path, texts)
    assert again.similarities("warm bread", generator).tobytes() == found.tobytes()
    with pytest.raises(ModelError, match="does not belong to the texts"):
        again.load(tmp_path, texts[1:])
    (tmp_path / "embeddings.npy").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"embeddings\.npy"):
        again.load(tmp_path, texts)


def test_copies_and_near_copies_are_no_neighbours() -> None:
    long = "the quick brown fox jumps over the lazy dog and runs away from the small town"
    train = [
        Example("copy", long, SingleLabel("a")),
        Example("shouted", long.upper() + "!", SingleLabel("a")),
        Example("typo", long.replace("small", "smalt"), SingleLabel("a")),
        Example("other", "the dog runs away from the town", SingleLabel("b")),
    ]
    neighbours = Neighbours("bm25")
    neighbours.fit(train)
    neighbours.index(None)
    assert [e.id for e, _ in neighbours.nearest(long, 4, None)] == ["other"]
    assert len(neighbours.nearest("the fox runs away from a dog", 4, None)) == 4


def random_examples(kind: str, count: int = 40) -> list[Example]:
    draw = random.Random(7)
    words = [w for text in WORDS for w in text]
    made = []
    for i in range(count):
        text = " ".join(draw.choices(words, k=8))
        labels = tuple(label for label in LABELS if draw.random() < 0.4)
        target = LabelSet(labels) if kind == "label_set" else SingleLabel(draw.choice(LABELS))
        made.append(Example(str(i), text, target))
    return made


@pytest.mark.parametrize("weights", ["uniform", "similarity"])
@pytest.mark.parametrize("kind", ["label_set", "single_label"])
def test_the_vote_is_scikit_learns(kind: str, weights: str) -> None:
    train = random_examples(kind)
    made = strategy("knn-vote", kind, neighbours="hidden-states", voters=5, weights=weights)
    made.fit(train)
    generator = Remembering()
    made.index(generator)
    vectors = generator.embed([e.text for e in train]).astype(np.float64)
    oracle = KNeighborsClassifier(
        5,
        metric="cosine",
        algorithm="brute",
        weights="uniform" if weights == "uniform" else lambda distances: 1 - distances,
    )
    columns = [[label in (e.labels or ()) for e in train] for label in LABELS]
    for text in ("warm soup and cold bread for people", "a stone is odd", "nobody is kind"):
        query = generator.embed([text]).astype(np.float64)
        prediction = made.run(Example("new", text, None), generator)
        shares = [oracle.fit(vectors, column).predict_proba(query)[0, 1] for column in columns]
        assert prediction.probabilities is not None
        assert list(prediction.probabilities.values()) == pytest.approx(shares, abs=1e-6)
        if kind == "label_set":
            assert prediction.labels == tuple(x for x, share in zip(LABELS, shares, strict=True) if share >= 0.5)
        else:
            classes = [e.labels[0] for e in train if e.labels]
            order = {label: i for i, label in enumerate(LABELS)}
            guess = LABELS[oracle.fit(vectors, [order[c] for c in classes]).predict(query)[0]]
            assert prediction.labels == (guess,)


def test_the_threshold_decides_which_labels_stay() -> None:
    text = Example("new", "bitter bread and cold soup", None)
    predicted = [fitted("knn-vote", voters=4, threshold=t).run(text, Remembering()) for t in (0.05, 0.5, 1.0)]
    counts = [len(p.labels) for p in predicted]
    assert counts == sorted(counts, reverse=True)
    for prediction, threshold in zip(predicted, (0.05, 0.5, 1.0), strict=True):
        assert prediction.probabilities is not None
        assert prediction.labels == tuple(x for x, p in prediction.probabilities.items() if p >= threshold)


def test_where_nothing_is_shared_all_voters_count_the_same() -> None:
    prediction = fitted("knn-vote", voters=6).run(Example("new", "zzz", None), Remembering())
    assert prediction.probabilities == pytest.approx({"good": 2 / 6, "bad": 3 / 6, "odd": 2 / 6})
    alone = strategy("knn-vote")
    alone.fit(examples()[:1])
    alone.index(Remembering())
    only = alone.run(Example("same", TEXTS[0][0], None), Remembering())
    assert only.labels == (), "its only neighbour is itself"


def test_the_vote_says_whether_it_asks_the_model() -> None:
    from semtune.contracts import uses_model

    assert not uses_model(strategy("knn-vote"))
    assert uses_model(strategy("knn-vote", neighbours="hidden-states"))
    assert uses_model(strategy("retrieval"))
    with pytest.raises(UnknownNameError, match='did you mean "bm25"'):
        strategy("retrieval", neighbours="bm52")
    with pytest.raises(DataError, match="no labelled training texts"):
        strategy("knn-vote").fit([])
