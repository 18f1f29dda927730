"""`semtune.tune` and `semtune.load`: the same run as from the command line, with its model at hand."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import semtune
from semtune.errors import DataError, DivergedError, ModelError, OptionError, OutputError, UnknownNameError
from semtune.runs.folder import read_result
from semtune.runs.runner import run as run_spec
from semtune.specs import read_spec

from ..runs.test_runner import Silent
from .conftest import MOODS, TEXTS

Tune = Callable[..., semtune.Run]


def test_a_run_predicts_what_it_has_learnt(tuned: semtune.Run) -> None:
    assert tuned.result.status == "ok"
    assert tuned.scores["test"]["micro_f1"] > 0.9, "four repeated texts are easy to learn"
    assert (tuned.spec.method_options["rank"], tuned.spec.method, tuned.labels) == (4, "lora", ("bad", "good"))
    predictions = tuned.predict(["the soup was warm and kind, 3", "a cold and bitter soup, 4"])
    assert [p.labels for p in predictions] == [("good",), ("bad",)]
    assert tuned.predict("bitter bread, cold people, 9")[0].labels == ("bad",)
    assert tuned.predict([]) == []
    probabilities = tuned.predict_proba(TEXTS[:5])
    assert probabilities.shape == (5, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    assert [tuned.labels[i] for i in probabilities.argmax(axis=1)] == MOODS[:5]


def test_a_folder_is_loaded_again(tuned: semtune.Run) -> None:
    again = semtune.load(tuned.folder)
    assert again.result == read_result(tuned.folder / "result.json") == tuned.result
    np.testing.assert_array_equal(again.predict_proba(TEXTS[:3]), tuned.predict_proba(TEXTS[:3]))
    assert str(tuned.folder) in repr(again)


def test_a_pickle_needs_no_folder(tuned: semtune.Run) -> None:
    copy = pickle.loads(pickle.dumps(tuned))
    assert copy.folder != tuned.folder
    assert not (copy.folder / "data").exists(), "the training texts stay at home"
    assert copy.result == tuned.result
    np.testing.assert_array_equal(copy.predict_proba(TEXTS[:3]), tuned.predict_proba(TEXTS[:3]))
    folder = copy.folder
    del copy
    assert not folder.exists()


def test_the_run_can_be_repeated_from_its_spec(tuned: semtune.Run, tmp_path: Path) -> None:
    run_spec(read_spec(tuned.folder / "spec.yaml"), tmp_path / "again", Silent())
    for split in ("dev", "test"):
        name = f"predictions-{split}.json"
        assert (tmp_path / "again" / name).read_bytes() == (tuned.folder / name).read_bytes()


def test_without_out_the_folder_lives_as_long_as_the_run(tune: Tune) -> None:
    run = tune()
    folder = run.folder
    assert run.result.predicted_peak_bytes == {}
    assert (folder / "result.json").exists()
    del run
    assert not folder.exists()


def test_the_callers_random_state_and_threads_are_kept(tune: Tune) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    tune(seed=5).predict("kind people")
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert torch.get_num_threads() == threads


def test_an_interruption_returns_what_was_learnt(tune: Tune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop(monkeypatch, at=2)
    with pytest.warns(RuntimeWarning, match="interrupted by the user"):
        run = tune(out=tmp_path / "run")
    assert run.result.status != "ok"
    assert len(run.predict(TEXTS[:2])) == 2


def test_an_interruption_before_anything_was_learnt_is_one(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("semtune.approaches.tuned_model.load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(out=tmp_path / "run")


def stop(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Interrupt at an optimizer step."""

    def on_step(self: Any, event: Any) -> None:
        if event.step == at:
            raise KeyboardInterrupt

    monkeypatch.setattr("semtune.progress.NoProgress.on_step", on_step)


def test_a_run_that_diverges_raises_and_leaves_its_record(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="learning-rate"):
        tune(method="full", learning_rate=1e30, readout="generate", out=tmp_path / "run", rank=None)
    assert semtune.load(tmp_path / "run").result.status == "diverged"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"rnak": 8}, UnknownNameError, r'semtune.tune\(\) has no option "rnak"; did you mean "rank"'),
        ({"text_colum": "a"}, UnknownNameError, 'did you mean "text_column"'),
        ({"method": "lorra"}, UnknownNameError, 'did you mean "lora"'),
        ({"readout": "haed"}, UnknownNameError, 'did you mean "head"'),
        ({"epochs": 0}, OptionError, "at least 1"),
        ({"precision": 8}, OptionError, '"precision" must be a text, not 8'),
        ({"method_options": 3}, OptionError, "method_options"),
        ({"epochs": "many"}, OptionError, "epochs"),
        ({"model": "no/such/folder/"}, ModelError, "no/such/folder"),
        ({"test_fraction": 1.5}, OptionError, "test_fraction"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    tune: Tune, tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        tune(out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", [8, {}])
def test_a_precision_that_is_no_text_is_refused_for_prompts_too(precision: Any) -> None:
    with pytest.raises(OptionError, match="There is no precision"):
        semtune.tune((TEXTS, MOODS), approach="prompted", strategy="zero-shot", precision=precision, progress=False)


def test_what_a_folder_holds_is_not_lost(tune: Tune, tmp_path: Path) -> None:
    run = tune(out=tmp_path / "run")
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="overwrite"):
        tune((TEXTS[:8], MOODS[:8]), out=tmp_path / "run")
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    (run.folder / "data" / "mine.jsonl").write_text("precious")
    tune((TEXTS[:8], MOODS[:8]), out=tmp_path / "run", overwrite=True, test_fraction=0.0, dev_fraction=0.5)
    files = sorted(path.name for path in (run.folder / "data").iterdir())
    assert files[0] == "mine.jsonl"
    assert len(files) == 2, "the former run's texts are gone with it"
    precious = tmp_path / "precious" / "file.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(OutputError, match="not a run"):
        tune(out=precious.parent)
    assert [path.name for path in precious.parent.rglob("*")] == ["file.txt"]


def test_bad_texts_to_predict(tuned: semtune.Run) -> None:
    with pytest.raises(DataError, match="Text 2 is empty"):
        tuned.predict(["kind", "  "])
    with pytest.raises(DataError, match="Text 1 is empty"):
        tuned.predict(["\u200b\u200e"])
    with pytest.raises(DataError, match="Text 1 is no text but of the kind int"):
        tuned.predict([3])  # type: ignore[list-item]
    for table in (pd.DataFrame({"text": TEXTS[:2], "label": ["good", "bad"]}), {"text": TEXTS[:2]}):
        with pytest.raises(DataError, match="this is a table; give its column of texts"):
            tuned.predict(table)  # type: ignore[arg-type]
    for other in (None, 5, float("nan"), Path("texts.csv"), b"kind"):
        with pytest.raises(
            DataError, match=f"of the kind .*{type(other).__name__.removeprefix('Posix')}; give a string"
        ):
            tuned.predict(other)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a set; give a list"):
        tuned.predict({"kind", "cold"})
    with pytest.raises(DataError, match=r"Text 2 has half a surrogate pair .*, which is no character"):
        tuned.predict(["kind", "\ud800"])
    with pytest.raises(ModelError, match="not a run folder"):
        semtune.load("nowhere")


def test_a_baseline_without_probabilities_says_so() -> None:
    run = semtune.tune((TEXTS, MOODS), approach="baseline", baseline="top-1", progress=False)
    with pytest.raises(OptionError, match='approach "baseline" gave none; tune a model'):
        run.predict_proba(TEXTS[:1])
    with pytest.raises(DataError, match=r"array of one value; give \[text\]"):
        run.predict(np.array("bread"))


def test_a_readout_without_probabilities_says_so(tune: Tune) -> None:
    run = tune(readout="generate", max_new_tokens=4)
    with pytest.raises(OptionError, match='"generate" gives no probabilities'):
        run.predict_proba(TEXTS[:1])
