"""A baseline goes through the same runner: folder, figures, predictions, reading back; and it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from semtune.errors import OptionError
from semtune.records import RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runs.folder import read_result
from semtune.runs.load import load_run
from semtune.runs.runner import run

from .test_runner import Silent


@pytest.mark.parametrize("name", ["random", "top-3", "tfidf"])
def test_a_baseline_is_measured_and_kept_like_everyone(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(RunSpec("practice", approach="baseline", baseline=name), out, Silent())
    assert (result.status, result.approach, result.name) == ("ok", "baseline", name)
    assert (result.model, result.method, result.prompt, result.readout) == ("", "", "", "")
    assert read_result(out / "result.json") == result
    assert set(result.scores) == {"dev", "test"}
    assert set(result.peak_bytes) == {"load", "train", "evaluate"}
    assert result.runtime_bytes is not None
    assert result.runtime_bytes <= min(result.peak_bytes.values()) + 2**20, "pages may go back to the system meanwhile"
    for seconds in (result.load_seconds, result.train_seconds, result.predict_seconds):
        assert seconds is not None and seconds >= 0
    assert result.selected_on is None, "dev chose nothing"
    task = TASKS.get("practice")(TaskOptions())
    again = load_run(out).predict(task.load("test"))
    assert [p.labels for p in again] == [p.labels for p in task.read_predictions(out / "predictions-test.json")]


def test_a_baseline_that_does_not_serve_the_task_is_refused_before_anything_is_written(
    reviews: Path, tmp_path: Path
) -> None:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    with pytest.raises(OptionError, match="is for tasks of sets of labels, but this task has one label a text"):
        run(RunSpec("table", approach="baseline", baseline="top-2", task_options=options), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_a_run_of_a_baseline_never_imports_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom semtune.cli import main\n"
        "sys.argv = ['semtune', 'tune', '--approach', 'baseline', '--baseline', 'tfidf', '--task', 'practice', "
        "'--out', 'run']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('status', end.code)\n"
        "print('heavy:', [m for m in ('torch', 'transformers') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "status 0" in done.stdout, done.stderr
    assert "heavy: []" in done.stdout
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["packages"]
