"""What a user does, from data to a report."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Semtune, last_json


def tune_own_table(semtune: Semtune, model: Path, reviews: Path, out: Path, *more: object) -> None:
    columns = ["--text-column", "comment", "--label-column", "mood"]
    semtune("tune", "--task", "table", "--data", reviews, *columns, "--model", model, "--out", out, *more)


def test_own_table_from_tune_to_predict(semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune_own_table(semtune, tiny_model, reviews, run, "--epochs", 6, "--learning-rate", 0.01, "--precision", "fp32")
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["epochs_trained"] == 6
    assert result["scores"]["test"]["micro_f1"] > 0.9, "four repeated texts are easy to learn"
    texts = tmp_path / "texts.txt"
    texts.write_text("the soup was warm and kind, 3\n\na cold and bitter soup, 4\n", encoding="utf-8")
    answers = last_json(semtune("predict", run, "bitter bread, cold people, 9", "--file", texts, "--json"))
    assert [a["labels"] for a in answers] == [["bad"], ["good"], None, ["bad"]], "a blank line keeps its place"
    assert answers.pop(2) == {"text": "", "labels": None, "probabilities": None}
    for answer in answers:
        assert set(answer) == {"text", "labels", "probabilities"}
        assert abs(sum(answer["probabilities"].values()) - 1) < 1e-4
    plain = semtune("predict", run, "bitter bread, cold people, 9")
    assert plain.stdout.startswith("bitter bread, cold people, 9\tbad (")


def test_predictions_of_a_run_can_be_evaluated(
    semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tune_own_table(semtune, tiny_model, reviews, run, "--epochs", 1)
    columns = ["--data", reviews, "--text-column", "comment", "--label-column", "mood"]
    file = run / "predictions-test.json"
    done = semtune("evaluate", "--task", "table", *columns, "--split", "test", "--predictions", file, "--json")
    scores = last_json(done)
    assert set(scores) == {"micro_f1", "macro_f1", "intervals", "per_label"}
    assert set(scores["intervals"]) == {"micro_f1", "macro_f1"}
    assert scores["micro_f1"] == json.loads((run / "result.json").read_text())["scores"]["test"]["micro_f1"]
    assert "row numbers" not in done.stderr
    copy = tmp_path / "copy.json"
    copy.write_bytes(file.read_bytes())
    away = semtune("evaluate", "--task", "table", *columns, "--split", "test", "--predictions", copy)
    assert f"ids are row numbers, and {copy} is in no run folder" in away.stderr
    header, *rows = reviews.read_text(encoding="utf-8").splitlines()
    reviews.write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    moved = semtune("evaluate", "--task", "table", *columns, "--split", "test", "--predictions", file, check=2)
    assert "not those that this run predicted, and ids are row numbers" in moved.stderr


def test_predictions_of_rows_with_other_ids_are_said(semtune: Semtune, tmp_path: Path) -> None:
    rows = [(f"{word} soup, {n}", label) for n in range(10) for word, label in (("warm", "good"), ("cold", "bad"))]
    table = tmp_path / "t.csv"

    def write(order: list[tuple[str, str]]) -> None:
        lines = [f'{n},"{text}",{label}' for n, (text, label) in enumerate(order)]
        table.write_text("\n".join(["id,text,label", *lines]) + "\n", encoding="utf-8")

    write(rows)
    semtune(
        "tune", "--task", "table", "--data", table, "--id-column", "id",
        "--approach", "baseline", "--baseline", "tfidf", "--out", "run",
    )  # fmt: skip
    asked = ["evaluate", "--task", "table", "--data", table, "--id-column", "id", "--split", "test"]
    asked += ["--predictions", "run/predictions-test.json"]
    assert "not those that this run predicted" not in semtune(*asked).stderr
    write(sorted(rows))
    said = " ".join(semtune(*asked, check=None).stderr.split())
    assert "the data are not those that this run predicted: where an id stands at another text now" in said


def test_a_study_compares_and_goes_on_where_it_stopped(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        f"task: practice\nmodel: {tiny_model}\nmethods: [lora, qlora]\nreadouts: [head]\nepochs: 1\n"
        "overrides:\n  lora: {rank: 4, targets: [q_proj, v_proj]}\n",
        encoding="utf-8",
    )
    record = last_json(semtune("study", file, "--out", "study", "--json"))
    assert record == json.loads((tmp_path / "study" / "study.json").read_text())
    assert [run["method"] for run in record["runs"]] == ["lora", "qlora"]
    for run in record["runs"]:
        assert run["status"] == "ok"
        assert 0 <= run["scores"]["test"]["micro_f1"] <= 1
        assert run["runtime_bytes"] < min(run["peak_bytes"].values())
        assert set(run["peak_bytes"]) == {"load", "train", "evaluate"}
    assert {b["name"] for b in record["baselines"]} == {"random", "top-1", "top-2", "top-3", "tfidf"}
    lora = record["runs"][0]
    assert lora["trainable_parameters"] == 2 * 4 * (64 + 64 + 64 + 32) + 65 * 20
    assert "<svg" in (tmp_path / "study" / "report.html").read_text()

    (tmp_path / "study" / "qlora-head-report-s0" / "result.json").unlink()
    again = semtune("study", file, "--out", "study")
    assert again.stderr.count("kept from before") == 1
    assert "qlora" in again.stdout

    (tmp_path / "study" / "report.html").unlink()
    markdown = semtune("report", "study", "--markdown").stdout
    assert all(f"\n| {method} " in markdown for method in ("lora", "qlora"))
    assert markdown.startswith("**Table 1. Speed**") and "**Table 2." in markdown
    assert (tmp_path / "study" / "report.html").exists()


def test_runs_of_a_study_that_cannot_be_are_results_too(semtune: Semtune, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ["--task", "practice", "--model", tiny_model, "--methods", "lora", "--out", "study", "--epochs", 1]
    file = tmp_path / "study.yaml"
    file.write_text("task: practice\noverrides:\n  lora: {targets: [nowhere]}\n", encoding="utf-8")
    done = semtune("study", file, *arguments, "--json", check=1)
    (run,) = last_json(done)["runs"]
    assert run["status"] == "failed"
    assert "nowhere" in run["reason"]
    assert "Traceback" not in done.stderr


def test_the_known_values_of_the_shared_task(semtune: Semtune, semeval_data: Path, tmp_path: Path) -> None:
    dev = json.loads(next(semeval_data.rglob("dev_set_task1.txt")).read_text(encoding="utf-8"))
    top = ["Loaded Language", "Name calling/Labeling", "Smears"]
    for count, micro, macro in [(3, 0.5, 0.2367), (2, 0.4819, 0.2145), (1, 0.3333, 0.1830), (0, 0.0, 0.15)]:
        file = tmp_path / "predictions.json"
        file.write_text(json.dumps([{"id": e["id"], "labels": top[:count]} for e in dev]), encoding="utf-8")
        arguments = ["--task", "semeval2021-task6-subtask1", "--data-dir", semeval_data, "--predictions", file]
        scores = last_json(semtune("evaluate", *arguments, "--split", "dev", "--json"))
        assert (round(scores["micro_f1"], 4), round(scores["macro_f1"], 4)) == (micro, macro)


def test_unlabelled_test_split_predicts_and_says_it_is_not_scored(
    semtune: Semtune, tiny_model: Path, semeval_data: Path, tmp_path: Path
) -> None:
    arguments = ["--task", "semeval2021-task6-subtask1", "--data-dir", semeval_data, "--model", tiny_model]
    done = semtune("tune", *arguments, "--epochs", 1, "--batch-size", 32, "--out", "run")
    assert "test: predicted; it lacks gold labels" in done.stdout
    assert len(json.loads((tmp_path / "run" / "predictions-test.json").read_text())) == 200
    assert "test" not in json.loads((tmp_path / "run" / "result.json").read_text())["scores"]
