"""Few-shot, retrieval and the vote through the runner: transcripts, notes of the result, knowledge, no model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from semtune.errors import OptionError
from semtune.records import RunResult, RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import resolve
from semtune.study.grid import study_from
from semtune.study.rows import prompted_runs

from ..runs.test_runner import Silent


@pytest.fixture
def spec(tiny_model: Path, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    return RunSpec("table", approach="prompted", model=str(tiny_model), strategy="few-shot", task_options=options)


def asked(spec: RunSpec, out: Path) -> tuple[RunResult, list[dict]]:
    result = run(spec, out, Silent())
    assert result.status == "ok"
    lines = (out / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    return result, [json.loads(line) for line in lines]


def test_demonstrations_that_do_not_fit_are_counted_in_the_result(spec: RunSpec, tmp_path: Path) -> None:
    result, lines = asked(replace(spec, strategy_options={"prompt_tokens": 160}), tmp_path / "run")
    dropped = [line["notes"][0]["dropped_demonstrations"] for line in lines]
    wanted = [len(line["notes"][0]["demonstrations"]) + left_out for line, left_out in zip(lines, dropped, strict=True)]
    assert 0 < sum(dropped) < sum(wanted)
    assert all(line["calls"][0]["tokens"][0] <= 160 for line in lines)
    (note,) = (note for note in result.notes if "demonstrations" in note)
    average, of = sum(dropped) / len(lines), sum(wanted) / len(lines)
    assert note.startswith(f"on average {average:.2f} of {of:.2f} demonstrations for a prompt were left out")
    assert not any("demonstrations" in n for n in asked(spec, tmp_path / "whole")[0].notes)


def test_the_vote_loads_no_model(spec: RunSpec, tmp_path: Path) -> None:
    vote = replace(spec, strategy="knn-vote", model=str(tmp_path / "no-such-model"), strategy_options={"voters": 3})
    result, lines = asked(vote, tmp_path / "run")
    assert result.total_parameters is None
    assert "no language model was asked" in result.notes
    assert all(line["calls"] == [] and len(line["notes"][0]["neighbours"]) == 3 for line in lines)
    again = load_run(tmp_path / "run")
    task = TASKS.get("table")(spec.task_options)
    kept = task.read_predictions(tmp_path / "run" / "predictions-test.json")
    assert [p.labels for p in again.predict(task.load("test"))] == [p.labels for p in kept]


def test_knowledge_is_cited_in_transcripts_and_result(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: said.append(text))
    file = tmp_path / "slang.md"
    file.write_text("# 2021-01-01 soup\nwhat the kind ones eat\n\n# sleet\nicy rain\n", encoding="utf-8")
    result, lines = asked(replace(spec, strategy="zero-shot", knowledge=str(file)), tmp_path / "run")
    cited = [line["notes"][0]["knowledge"] for line in lines]
    texts = [line["calls"][0]["prompt"].rsplit("Text: ", 1)[1] for line in lines]
    assert [bool(entries) for entries in cited] == ["soup" in text or "kind" in text for text in texts]
    count = sum(map(bool, cited))
    assert "1 of 2 entries have a date, but no training text" in said[0]
    assert set(said) < set(result.notes)
    (note,) = (note for note in result.notes if "cite entries of --knowledge" in note)
    assert note == (
        f"{count} of {len(lines)} prompts cite entries of --knowledge, 1 of them; most often (prompts): "
        f'line 2 2021-01-01 "soup" ({count})'
    )
    file.unlink()
    assert load_run(tmp_path / "run").predict([]) == []


@pytest.mark.parametrize(("written", "told"), [("{}", True), ("yesterday: {}!", True), ("soup, bread", False)])
def test_knowledge_that_holds_the_texts_themselves_is_said(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, told: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: said.append(text))
    texts = {e.text for split in ("dev", "test") for e in TASKS.get("table")(spec.task_options).load(split)}
    file = tmp_path / "known.json"
    file.write_text(json.dumps([{"text": written.format(text)} for text in sorted(texts)]), encoding="utf-8")
    result, lines = asked(replace(spec, strategy="zero-shot", knowledge=str(file)), tmp_path / "run")
    found = [note for note in result.notes if "that is (nearly) the text itself" in note]
    assert found == [note for note in said if "that is (nearly) the text itself" in note]
    assert bool(found) == told
    assert not told or found[0].startswith(f"{len(lines)} of {len(lines)} prompts cite")


def test_rows_of_knowledge_that_are_left_out_are_said(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, text: said.append(text))
    file = tmp_path / "slang.json"
    file.write_text('[{"text": "soup"}, {"Text": "sleet"}, {"title": "bread"}]', encoding="utf-8")
    result, _ = asked(replace(spec, strategy="zero-shot", knowledge=str(file)), tmp_path / "run")
    (note,) = (note for note in said if "left out" in note)
    assert note in result.notes
    assert 'a row without text in column "text" was left out in 2 rows (first: row 2)' in note


def test_knowledge_without_a_strategy_that_reads_it_is_refused_and_left_out_of_mixed_studies(spec: RunSpec) -> None:
    with pytest.raises(
        OptionError, match="--knowledge is looked up by prompting strategies such as retrieval, and not"
    ):
        resolve(replace(spec, strategy="knn-vote", knowledge="news.md"))
    with pytest.raises(OptionError, match="not by tuned"):
        resolve(RunSpec("practice", knowledge="news.md"))
    values = {"task": "practice", "methods": ["lora"], "strategies": ["zero-shot", "knn-vote"], "knowledge": "news.md"}
    study = study_from(values, "it")
    asked = {run.strategy: run.knowledge for run in prompted_runs(study).values()}
    assert asked == {"zero-shot": "news.md", "knn-vote": None}
    assert {run.knowledge for run in study.runs().values()} == {None}
