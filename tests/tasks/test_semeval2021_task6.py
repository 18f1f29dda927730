"""The shared task: known scorer values, where data come from, and broken files. Test labels are never looked at."""

from __future__ import annotations

import hashlib
import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from semtune.contracts import TaskContext
from semtune.errors import DataError, OptionError, OutputError, UnknownNameError
from semtune.records import LabelSet, Prediction, TaskOptions
from semtune.registry import BASELINES
from semtune.tasks import semeval2021_task6 as module
from semtune.tasks.semeval2021_task6 import Subtask1
from semtune.tasks.techniques import TECHNIQUES

ROWS = [
    {"id": "1_batch", "labels": ["Smears", "Doubt"], "text": "SAYS WHO?\n"},
    {"id": "2_batch", "labels": [], "text": "HELLO"},
]


def task_at(folder: Path) -> Subtask1:
    return Subtask1(TaskOptions(data_dir=str(folder)))


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "micro", "macro"),
    [("random", 0.04494, 0.0119), ("top-3", 0.5, 0.2367), ("top-2", 0.4819, 0.2145), ("top-1", 0.3333, 0.1830)],
)
def test_known_values_of_baselines(semeval_data: Path, name: str, micro: float, macro: float) -> None:
    task = task_at(semeval_data)
    baseline = BASELINES.get(name)(TaskContext.of(task))
    baseline.fit(task.load("train"), task.load("dev"))
    scores = task.score(task.load("dev"), baseline.predict(task.load("dev")))
    assert scores.values["micro_f1"] == pytest.approx(micro, abs=5.1e-5)
    assert scores.values["macro_f1"] == pytest.approx(macro, abs=5.1e-5)


def test_known_value_of_saying_nothing(semeval_data: Path) -> None:
    task = task_at(semeval_data)
    dev = task.load("dev")
    scores = task.score(dev, [Prediction(e.id, LabelSet(())) for e in dev])
    assert (scores.values["micro_f1"], scores.values["macro_f1"]) == (0.0, pytest.approx(0.15))


def test_the_corpus_as_described(semeval_data: Path) -> None:
    task = task_at(semeval_data)
    train, dev = task.load("train"), task.load("dev")
    assert (len(train), len(dev)) == (688, 63)
    assert (sum(not e.labels for e in train), sum(not e.labels for e in dev)) == (143, 15)
    assert max(len(e.text) for e in train) == 427
    own = semeval_data / "semeval2021-task6"
    class_file = (own if own.is_dir() else semeval_data) / "techniques_list_task1-2.txt"
    assert tuple(class_file.read_text(encoding="utf-8").split("\n")[:20]) == TECHNIQUES


def test_leaderboard_is_best_first() -> None:
    entries = Subtask1(TaskOptions()).leaderboard
    assert len(entries) == 17
    assert [e.scores["micro_f1"] for e in entries] == sorted((e.scores["micro_f1"] for e in entries), reverse=True)


@pytest.mark.parametrize("where", [".", "semeval2021-task6", "data"])
def test_data_dir_may_be_the_folder_its_parent_or_the_repository(tmp_path: Path, where: str) -> None:
    write(tmp_path / where / "dev_set_task1.txt", ROWS)
    dev = task_at(tmp_path).load("dev")
    assert [(e.id, e.labels) for e in dev] == [("1_batch", ("Doubt", "Smears")), ("2_batch", ())]
    assert dev[0].text == "SAYS WHO?\n"


def test_data_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "dev_set_task1.txt", ROWS)
    monkeypatch.setenv("SEMTUNE_DATA", str(tmp_path))
    assert len(Subtask1(TaskOptions()).load("dev")) == 2
    with pytest.raises(DataError, match=r"SEMTUNE_DATA names .* holds training_set_task1.txt"):
        Subtask1(TaskOptions()).load("train")


def test_an_unlabelled_test_split_loads_and_refuses_scoring(tmp_path: Path) -> None:
    write(tmp_path / "test_set_task1.txt", [{"id": "1", "text": "A"}, {"id": "2", "text": "B"}])
    task = task_at(tmp_path)
    test = task.load("test")
    assert [e.labels for e in test] == [None, None]
    with pytest.raises(DataError, match=r"^The test split of semeval2021-task6-subtask1 has no gold labels, so it"):
        task.score(test, [Prediction(e.id, LabelSet(())) for e in test])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps([ROWS[0], ROWS[0]]), "row 2 has the same id as .*row 1"),
        (json.dumps([{**ROWS[0], "labels": ["Smeers"]}]), 'row 1 .* unknown label "Smeers"; did you mean "Smears"'),
        (json.dumps([{"id": "1", "labels": []}]), "has no text"),
        (json.dumps([{"id": "1", "labels": [], "text": " \n"}]), "has no text"),
        (json.dumps([{"id": "1", "text": "x"}]), 'has no "labels"; only a test split may be unlabelled'),
        ('[\n {"id": "1",\n "text": }]', "line 3, column 10"),
        ("", "is empty"),
        ("[[]]", "row 1 must be a JSON object, but it is a list"),
    ],
)
def test_broken_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "training_set_task1.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        task_at(tmp_path).load("train")


def test_wrong_encoding(tmp_path: Path) -> None:
    (tmp_path / "dev_set_task1.txt").write_bytes('[{"id": "1", "labels": [], "text": "café"}]'.encode("utf-16"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        task_at(tmp_path).load("dev")


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"has no use for --text-column; .*--data-dir"):
        Subtask1(TaskOptions(text_column="t"))
    with pytest.raises(UnknownNameError, match='no split called "validation"'):
        task_at(tmp_path).load("validation")
    with pytest.raises(DataError, match="which is not a folder"):
        task_at(tmp_path / "none").load("dev")


class Web:
    """Stands in for urllib.request.urlopen."""

    def __init__(self, content: bytes | OSError) -> None:
        self.content = content
        self.urls: list[str] = []

    def __call__(self, url: str, timeout: float) -> io.BytesIO:
        self.urls.append(url)
        if isinstance(self.content, OSError):
            raise self.content
        return io.BytesIO(self.content)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SEMTUNE_DATA", raising=False)
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_download_once_and_only_the_split_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(ROWS).encode()
    web = Web(content)
    monkeypatch.setattr(urllib.request, "urlopen", web)
    monkeypatch.setitem(module.SHA256, "dev", hashlib.sha256(content).hexdigest())
    assert len(Subtask1(TaskOptions()).load("dev")) == 2
    assert len(Subtask1(TaskOptions()).load("dev")) == 2
    assert [url.rsplit("/", 2)[1:] for url in web.urls] == [["data", "dev_set_task1.txt"]]
    assert module.COMMIT in web.urls[0]
    held = cache / "semeval2021-task6" / module.COMMIT
    assert [p.name for p in held.iterdir()] == ["dev_set_task1.txt"]
    (held / "dev_set_task1.txt").write_bytes(b"[truncated")  # a damaged cache heals
    assert len(Subtask1(TaskOptions()).load("dev")) == 2
    assert len(web.urls) == 2


def test_download_with_another_checksum_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", Web(b"[]"))
    with pytest.raises(DataError, match=r"is not the expected file .*--data-dir"):
        Subtask1(TaskOptions()).load("dev")
    assert not list(cache.rglob("*.*"))


@pytest.mark.parametrize("error", [urllib.error.URLError("no route to host"), TimeoutError("timed out")])
def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", Web(error))
    with pytest.raises(DataError, match=r"could not be downloaded \((no route|timed out).*--data-dir"):
        Subtask1(TaskOptions()).load("dev")


def test_a_cache_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(ROWS).encode()
    monkeypatch.setattr(urllib.request, "urlopen", Web(content))
    monkeypatch.setitem(module.SHA256, "dev", hashlib.sha256(content).hexdigest())
    cache.write_text("a file, not a folder")
    with pytest.raises(OutputError, match="set SEMTUNE_CACHE"):
        Subtask1(TaskOptions()).load("dev")
