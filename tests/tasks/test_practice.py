"""The practice set: what it promises about its texts. A failure lists every offender, for whoever edits the texts."""

from __future__ import annotations

import importlib.resources
import re
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from semtune.baselines.tfidf import TfidfLogistic
from semtune.contracts import TaskContext
from semtune.errors import DataError
from semtune.records import Example, TaskOptions
from semtune.tasks import practice
from semtune.tasks.practice import Practice
from semtune.tasks.techniques import TECHNIQUES

DATA = importlib.resources.files("semtune.tasks") / "practice_data"
SPLITS = ("train", "dev", "test")
there = pytest.mark.skipif(
    not all((DATA / f"{split}.jsonl").is_file() for split in SPLITS), reason="the practice texts are not written yet"
)


@pytest.fixture(scope="module")
def texts() -> list[Example]:
    task = Practice(TaskOptions())
    return [example for split in SPLITS for example in task.load(split)]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold())


def grams(tokens: list[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(tokens[i:] for i in range(n)), strict=False))


@there
def test_size_labels_and_ids(texts: list[Example]) -> None:
    assert len(texts) >= 420
    assert len({e.id for e in texts}) == len(texts)
    assert {label for e in texts for label in e.labels or ()} == set(TECHNIQUES)
    assert 0.15 <= sum(not e.labels for e in texts) / len(texts) <= 0.27


@there
def test_label_frequencies_are_roughly_the_corpus_ones(texts: list[Example]) -> None:
    counts = Counter(label for e in texts for label in e.labels or ())
    common = [label for label, _ in counts.most_common(3)]
    assert common[0] == "Loaded Language"
    assert set(common[1:]) == {"Name calling/Labeling", "Smears"}


@there
def test_no_two_texts_share_half_of_their_word_trigrams(texts: list[Example]) -> None:
    assert len({" ".join(words(e.text)) for e in texts}) == len(texts)
    trigrams = {e.id: found for e in texts if (found := grams(words(e.text), 3))}
    alike = [
        (a, b)
        for a, b in combinations(trigrams, 2)
        if len(trigrams[a] & trigrams[b]) >= 0.5 * min(len(trigrams[a]), len(trigrams[b]))
    ]
    assert not alike


@there
def test_no_label_can_be_told_from_one_keyword(texts: list[Example]) -> None:
    """No word or bigram, taken as the whole rule for a label of three texts or more, reaches an F1 of 0.6.

    Saying a label always has an F1 too (about 0.7 for the most frequent label), which any common word comes close to
    without telling anything; for such a label the bar is 0.05 above that. For words, a rule that finds 60 % of a
    label's texts with 60 % precision is refused as well.
    """
    where: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for e in texts:
        tokens = words(e.text)
        for gram in grams(tokens, 1) | grams(tokens, 2):
            where[gram].add(e.id)
    telling = []
    for label in TECHNIQUES:
        held = {e.id for e in texts if label in (e.labels or ())}
        if len(held) < 3:
            continue
        bar = max(0.6, 2 * len(held) / (len(held) + len(texts)) + 0.05)
        for gram, ids in where.items():
            hits = len(ids & held)
            precision, recall, f1 = hits / len(ids), hits / len(held), 2 * hits / (len(ids) + len(held))
            if f1 >= bar or (len(gram) == 1 and recall >= 0.6 and precision >= 0.6):
                telling.append((label, " ".join(gram), f"P {precision:.2f} R {recall:.2f}"))
    assert not telling


@there
def test_difficulty_for_tfidf() -> None:
    task = Practice(TaskOptions())
    baseline = TfidfLogistic(TaskContext.of(task))
    baseline.fit(task.load("train"), task.load("dev"))
    test = task.load("test")
    assert 0.45 <= task.score(test, baseline.predict(test)).values["micro_f1"] <= 0.75


def test_definitions_spell_every_label_as_the_task_does() -> None:
    rows = (DATA / "definitions.md").read_text(encoding="utf-8").split("\n")
    first = [row.split("|")[1].strip() for row in rows if row.startswith("| ") and not row.startswith("| label ")]
    assert tuple(first) == TECHNIQUES


def test_it_says_that_it_is_practice() -> None:
    task = Practice(TaskOptions())
    assert "never a benchmark" in task.notes[0] and "invented" in task.notes[0]
    assert task.labels == TECHNIQUES and task.leaderboard == ()


def test_a_broken_installation(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("package")
    monkeypatch.setattr(practice.importlib.resources, "files", lambda name: folder)
    with pytest.raises(DataError, match=r"train.jsonl\) is missing from this installation; reinstall semtune"):
        Practice(TaskOptions()).load("train")
    (folder / "practice_data").mkdir()
    (folder / "practice_data" / "dev.jsonl").write_text('{"id": "1", "text": "x", "labels": []}\n{"id": "2", "text"\n')
    with pytest.raises(DataError, match=r"dev.jsonl, line 2 is not valid JSON"):
        Practice(TaskOptions()).load("dev")
