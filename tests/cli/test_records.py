"""Records of real processes: whose result it is, what stands where a new run fails, who holds a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import Semtune, last_json
from .test_interrupt import wait_for

TEXTS = [
    "the warm bread of the valley",
    "a cold morning on the bridge",
    "plums and goats for sale",
    "no more rain today",
]


def test_a_run_that_could_not_begin_has_no_old_figures(
    semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    """The model of a finished run is gone: nothing of the run before is shown as this one's, and nothing is lost."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    file = tmp_path / "study.yaml"
    file.write_text(
        f"task: table\ntask_options: {{data: {reviews}, text_column: comment, label_column: mood}}\nmodel: {model}\n"
        "methods: [lora]\nbaselines: []\nepochs: 1\n",
        encoding="utf-8",
    )
    (first,) = last_json(semtune("study", file, "--out", "study", "--json"))["runs"]
    assert first["status"] == "ok" and first["run_id"]
    shutil.rmtree(model)
    run = tmp_path / "study" / first["out"]
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"status": "diverged"}))  # so that it is run again
    done = semtune("study", file, "--out", "study", "--json", check=1)
    (second,) = last_json(done)["runs"]
    assert (second["status"], second["scores"]) == ("failed", {})
    assert "model" in second["reason"] and second["run_id"] != first["run_id"]
    assert second["out"] is None, "the folder holds another run"
    assert (run / "adapter").is_dir() and json.loads((run / "result.json").read_text())["run_id"] == first["run_id"]


def test_two_processes_on_one_folder(semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path) -> None:
    arguments = ["tune", "--task", "table", "--data", reviews, "--text-column", "comment", "--label-column", "mood"]
    arguments += ["--model", tiny_model, "--out", "run"]
    command = [sys.executable, "-m", "semtune", *map(str, arguments), "--epochs", "5000"]
    with subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), stderr=subprocess.DEVNULL) as first:
        wait_for(tmp_path / "run" / "metrics.jsonl", '"step": 1')
        second = semtune(*arguments, "--epochs", 1, "--overwrite", check=2)
        (sentence,) = [line for line in second.stderr.splitlines() if line.startswith("semtune: ")]
        assert f"run is in use by process {first.pid} on this machine" in sentence
        assert "Traceback" not in second.stderr
        first.kill()
    assert (tmp_path / "run" / ".lock").exists()
    semtune(*arguments, "--epochs", 1, "--overwrite")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs_trained"] == 1
    assert not list((tmp_path / "run").glob(".lock*"))


def test_test_texts_inside_train_are_refused_and_named(semtune: Semtune, tmp_path: Path) -> None:
    rows = [f"{text} number {i} of this week,{'good' if i % 2 else 'bad'}" for i, text in enumerate(TEXTS * 5)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    arguments = [
        "tune",
        "--task",
        "table",
        "--data",
        "train.csv",
        "--dev-data",
        "train.csv",
        "--test-data",
        "train.csv",
    ]
    arguments += ["--approach", "baseline", "--baseline", "random", "--out", "run"]
    refused = semtune(*arguments, check=2)
    assert "same 20 texts as the train split" in refused.stderr and "--allow-overlap" in refused.stderr
    assert not (tmp_path / "run").exists()
    allowed = semtune(*arguments, "--allow-overlap")
    notes = [line for line in allowed.stderr.splitlines() if line.startswith("note: ")]
    assert [f"the {split} split has the same 20 texts" in " ".join(notes) for split in ("test", "dev")] == [True, True]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {(o["split"], o["other"], o["exact"]) for o in result["overlaps"]} == {
        ("test", "train", 20), ("test", "dev", 20), ("dev", "train", 20),
    }  # fmt: skip


def test_a_broken_study_is_one_sentence(semtune: Semtune, tmp_path: Path) -> None:
    record = {"format": 1, "task": "it", "runs": []}
    for key, wrong in (("environment", "laptop"), ("spec", ["x"]), ("task_notes", "a note"), ("baselines", [3])):
        (tmp_path / "study.json").write_text(json.dumps(record | {key: wrong}), encoding="utf-8")
        done = semtune("report", ".", check=2)
        (sentence,) = done.stderr.splitlines()
        assert sentence.startswith("semtune: ") and "study.json" in sentence and sentence.endswith("."), sentence
