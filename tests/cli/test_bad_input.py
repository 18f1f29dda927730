"""Bad input: one clear sentence, exit status 2, no traceback, nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import Semtune, last_json

OWN = ["--task", "table", "--text-column", "comment", "--label-column", "mood", "--data"]


def refuse(semtune: Semtune, *arguments: object) -> str:
    done = semtune(*arguments, check=2)
    assert "Traceback" not in done.stderr
    complaints = [line for line in done.stderr.splitlines() if line.startswith("semtune: ")]
    assert len(complaints) == 1, done.stderr
    return complaints[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--task", "practice", "--method", "lorra", "--out", "run"], 'did you mean "lora"'),
        (["tune", "--task", "practise", "--out", "run"], 'did you mean "practice"'),
        (["tune", "--task", "practice", "--preset", "raport", "--out", "run"], 'did you mean "report"'),
        (["tune", "--task", "practice", "--epochs", "0", "--out", "run"], "--epochs must be at least 1"),
        (["tune", "--task", "practice", "--learning-rate", "-1", "--out", "run"], "--learning-rate"),
        (["tune", "--task", "practice", "--rank=-3", "--out", "run"], "--rank must be at least 1"),
        (["tune", "--task", "practice", "--alpha", "nan", "--out", "run"], "--alpha must be above 0, not nan"),
        (["tune", "--task", "practice", "--offload-gb", "inf", "--out", "run"], "--offload-gb must be a finite number"),
        (["plan", "--rank=-3"], "--rank must be at least 1"),
        (["plan", "--threads=-2"], "--threads must be at least 1"),
        (["plan", "--max-length", "100000000000"], "--max-length must be at least 8 and at most"),
        (["tune", "--task", "practice", "--loss-on", "some", "--out", "run"], "loss_on"),
        (["tune", "--task", "practice", "--epochs", "many", "--out", "run"], "'--epochs'"),
        (["tune", "--out", "run"], "--task"),
        (["tune", "--task", "practice", "--model", "no/such/folder/", "--out", "run"], "no/such/folder"),
        (["tune", "--task", "practice", "--model", "gone.gguf", "--out", "run"], "gone.gguf"),
        (["tune", "--task", "practice", "--data-dir", "x", "--out", "run"], "data"),
        (["tune", *OWN, "gone.csv", "--out", "run"], "gone.csv"),
        (["predict", "nowhere", "text"], "nowhere"),
        (["predict", "nowhere"], "--file"),
        (["evaluate", "--task", "practice", "--predictions", "gone.json"], "gone.json"),
        (["list", "model"], 'did you mean "models"'),
        (["study"], "--task"),
        (["list", "tasks", "--options"], "no options of tasks"),
        (["study", "gone.yaml"], "gone.yaml"),
        (["report", "nowhere"], "nowhere"),
        (["tunne"], "tunne"),
    ],
)
def test_one_sentence(semtune: Semtune, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refuse(semtune, *arguments)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comment,feeling\na,b\n", "mood"),
        ("", "empty"),
        ("comment,mood\n", "no rows"),
        ("comment,mood\nx,\n", "row 1 has no label"),
    ],
)
def test_tables(semtune: Semtune, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "reviews.csv").write_text(text, encoding="utf-8")
    assert message in refuse(semtune, "tune", *OWN, "reviews.csv", "--out", "run")


def test_broken_json_line_has_its_number(semtune: Semtune, tmp_path: Path) -> None:
    (tmp_path / "reviews.jsonl").write_text('{"comment": "a", "mood": "good"}\n{"comment": \n', encoding="utf-8")
    assert "line 2" in refuse(semtune, "tune", *OWN, "reviews.jsonl", "--out", "run")


def test_other_encoding(semtune: Semtune, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes("comment,mood\ncafé,good\n".encode("latin-1"))
    assert "--encoding" in refuse(semtune, "tune", *OWN, "reviews.csv", "--out", "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: practice\nmethod_s: [lora]\n", 'did you mean "methods"'),
        ("task: practice\nmethods: [lorra]\n", 'did you mean "lora"'),
        ("task: !!python/object/apply:os.system ['true']\n", "only plain values"),
        ("task: practice\nmethods: []\n", "empty"),
        ("methods: [lora]\n", "no task"),
        ("- lora\n", "mapping"),
        ("task: [\n", "not valid YAML"),
        ("task: practice\noverrides: {lora: {rnak: 8}}\n", 'did you mean "rank"'),
        ("task: practice\nepochs: lots\n", 'study.yaml: "epochs"'),
        ("task: practice\nepochs: 0\n", 'study.yaml: "epochs" must be at least 1'),
        ("task: practice\nmax_length: 1:30\n", "study.yaml: YAML reads 1:30 in line 2 as 90"),
        ("task: practice\ntask_options: base.csv\n", 'study.yaml: "task_options" must be a mapping'),
        ("task: practice\nmethod_options: [rank, 8]\n", 'study.yaml: "method_options" must be a mapping'),
        ("task: practice\nseeds: 0-2\n", "seeds: [0, 1, 2]"),
    ],
)
def test_study_files(semtune: Semtune, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    assert message in refuse(semtune, "study", "study.yaml", "--out", "study")


def test_a_value_of_the_command_line_is_not_said_to_be_the_files_alone(semtune: Semtune, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("task: practice\nmethods: [lora]\n", encoding="utf-8")
    message = refuse(semtune, "study", "study.yaml", "--epochs", "0", "--out", "study")
    assert "study.yaml (with the options given): --epochs must be at least 1" in message
    (tmp_path / "study.yaml").write_text("task: practice\nmethods: [lora]\nepochs: 0\n", encoding="utf-8")
    message = refuse(semtune, "study", "study.yaml", "--seeds", "1", "--out", "study")
    assert 'study.yaml (with the options given): "epochs" must be at least 1' in message


def test_target_that_matches_nothing(semtune: Semtune, tiny_model: Path) -> None:
    message = refuse(
        semtune, "tune", "--task", "practice", "--model", tiny_model, "--targets", "q_porj", "--out", "run"
    )
    assert 'did you mean "q_proj"' in message


def test_truncated_weights(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "model.safetensors" in refuse(semtune, "tune", "--task", "practice", "--model", broken, "--out", "run")


def test_truncated_gguf(semtune: Semtune, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "broken.gguf" in refuse(semtune, "tune", "--task", "practice", "--model", "broken.gguf", "--out", "run")


def test_what_a_folder_holds_is_not_lost(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    precious = tmp_path / "run" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine", encoding="utf-8")
    arguments = ["tune", "--task", "practice", "--model", tiny_model, "--out", "run"]
    assert "--out" in refuse(semtune, *arguments)
    assert "--out" in refuse(semtune, *arguments, "--overwrite")
    assert precious.read_text(encoding="utf-8") == "mine"


def test_json_errors_are_json_too(semtune: Semtune) -> None:
    done = semtune("evaluate", "--task", "practice", "--predictions", "gone.json", "--json", check=2)
    assert len(done.stdout.splitlines()) == 1
    assert "gone.json" in last_json(done)["error"]


def test_predictions_with_a_doubled_id(semtune: Semtune, tmp_path: Path) -> None:
    rows = [{"id": "p004", "labels": []}, {"id": "p004", "labels": []}]
    (tmp_path / "predictions.json").write_text(json.dumps(rows), encoding="utf-8")
    assert "p004" in refuse(semtune, "evaluate", "--task", "practice", "--predictions", "predictions.json")


def test_a_rank_that_the_model_cannot_have_is_one_sentence(semtune: Semtune, tiny_model: Path) -> None:
    """Nothing of the plan's own failure is printed."""
    arguments = ["tune", "--task", "practice", "--model", tiny_model, "--rank", "100000", "--out", "run"]
    done = semtune(*arguments, check=2)
    assert "rank must be at most" in done.stderr
    assert done.stderr.count("semtune:") == 1
    assert "planned" not in done.stderr and "Traceback" not in done.stderr
