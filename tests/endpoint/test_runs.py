"""Runs of prompting strategies on a server: folder, transcripts, costs, going on after a failure."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from semtune.errors import EndpointError, OptionError, UnknownNameError
from semtune.records import RunResult, RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runs.folder import read_result
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import resolve

from ..runs.test_runner import Silent
from .server import MODEL, Protocol, status

TEXTS = 4 + 8
"""Dev and test of the reviews."""


@pytest.fixture
def spec(server: Protocol, reviews: Path) -> RunSpec:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    known = {"model": MODEL, "approach": "prompted", "strategy": "zero-shot", "task_options": options}
    return RunSpec("table", endpoint=server.url, endpoint_retries=1, **known)  # type: ignore[arg-type]


def transcripts(folder: Path) -> list[dict[str, object]]:
    """The calls of the run in `folder`."""
    lines = (folder / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    return [call for line in lines for call in json.loads(line)["calls"]]


def test_a_run_scores_and_costs_what_the_server_answered(
    spec: RunSpec, server: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"currency: EUR\nmodels:\n  {MODEL}: {{in: 2, out: 10}}\n", encoding="utf-8")
    out = tmp_path / "run"
    result = run(replace(spec, prices=str(prices)), out, Silent())
    assert (result.status, result.model, result.total_parameters) == ("ok", MODEL, None)
    assert {split: scores.values["micro_f1"] for split, scores in result.scores.items()} == {"dev": 1, "test": 1}
    assert all(scores.parse_failures == 0 for scores in result.scores.values())
    calls = transcripts(out)
    assert len(calls) == len(server.posts) == TEXTS
    words = sum(len(" ".join(m["content"] for m in body["messages"]).split()) for _, body in server.posts)
    usage = result.usage
    assert usage is not None
    assert (usage.texts, usage.requests, usage.kept_requests) == (TEXTS, TEXTS, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (words, TEXTS)
    assert usage.cost == pytest.approx((2 * words + 10 * TEXTS) / 1e6)
    assert usage.currency == "EUR"
    assert read_result(out / "result.json") == result
    assert str(calls[0]["instruction"]).startswith("Answer with exactly one of these labels")
    assert "sk-secret" not in "".join(f.read_text(encoding="utf-8") for f in out.rglob("*") if f.is_file())
    task = TASKS.get("table")(spec.task_options)
    again = load_run(out).predict(task.load("test"))
    assert [p.labels for p in again] == [p.labels for p in task.read_predictions(out / "predictions-test.json")]
    assert len(server.posts) == TEXTS, "all of it was kept"


def test_a_run_that_failed_goes_on_from_the_answers_that_it_has(
    spec: RunSpec, server: Protocol, tmp_path: Path, cache: Path
) -> None:
    server.answer = lambda prompt: (server.posts[6:] and server.__setattr__("always", status(429, "no"))) or "good"
    slow = replace(spec, requests_in_flight=1)
    with pytest.raises(EndpointError, match=r"too many requests, tried 2 times .*goes on from here"):
        run(slow, tmp_path / "run", Silent())
    failed = read_result(tmp_path / "run" / "result.json")
    assert failed.status == "failed"
    assert "status 429: no" in str(failed.reason)
    assert failed.usage is not None
    assert failed.usage.requests >= 4
    asked = len(list(cache.rglob("*.json")))
    server.always, server.answer = None, lambda prompt: "good"
    server.posts.clear()
    result = run(slow, tmp_path / "run", Silent(), overwrite=True)
    assert result.status == "ok"
    assert result.usage is not None
    assert result.usage.kept_requests == asked
    assert len(server.posts) == TEXTS - asked
    assert [call["kept"] for call in transcripts(tmp_path / "run")].count(True) == asked


def test_an_interrupted_run_ends_at_once(spec: RunSpec, server: Protocol, tmp_path: Path) -> None:
    server.seconds = 60
    main = threading.main_thread().ident
    assert main is not None
    interrupted: list[float] = []

    def interrupt() -> None:
        while len(server.posts) < 2:
            time.sleep(0.01)
        interrupted.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    run(spec, tmp_path / "run", Silent())
    assert time.monotonic() - interrupted[0] < 10
    assert read_result(tmp_path / "run" / "result.json").status == "interrupted"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("endpoint", "text"))]


def test_what_cannot_be_parsed_is_counted(spec: RunSpec, server: Protocol, tmp_path: Path) -> None:
    server.answer = lambda prompt: "I would say it is fine" if "cold" in prompt else "*Good*\n"
    server.usage = False
    result = run(spec, tmp_path / "run", Silent())
    assert result.scores["test"].parse_failures == 1, "labels are spelt as they are"
    assert result.usage is not None
    assert (result.usage.uncounted_requests, result.usage.prompt_tokens) == (TEXTS, 0)
    assert transcripts(tmp_path / "run")[0]["tokens"] == [None, None]


def test_plain_completions_end_at_the_line(spec: RunSpec, server: Protocol, tmp_path: Path) -> None:
    result = run(replace(spec, endpoint_api="completions"), tmp_path / "run", Silent())
    assert result.scores["test"].values["micro_f1"] == 1
    path, body = server.posts[0]
    assert path == "/v1/completions"
    assert body["prompt"].endswith("<tech:>")
    assert body["stop"] == ["\n"]


def test_what_a_server_cannot_do_is_refused_before_it_is_asked(
    spec: RunSpec, server: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match=r"neither tuned nor fitted.*--approach prompted --strategy zero-shot"):
        resolve(replace(spec, approach="tuned", strategy=None))
    with pytest.raises(OptionError, match="--requests-in-flight is about a server; give its URL with --endpoint"):
        resolve(replace(spec, endpoint=None, requests_in_flight=2))
    with pytest.raises(OptionError, match="needs --model"):
        run(replace(spec, model="default"), tmp_path / "run", Silent())
    prices = tmp_path / "prices.yaml"
    prices.write_text("models: {mood-11: {in: 1, out: 1}}\n", encoding="utf-8")
    with pytest.raises(OptionError, match='has no price of the model "mood-1"; did you mean "mood-11"'):
        run(replace(spec, prices=str(prices)), tmp_path / "run", Silent())
    prices.write_text("models: {mood-1: {in: -1, out: 1}}\n", encoding="utf-8")
    with pytest.raises(OptionError, match="must be that of a million tokens"):
        run(replace(spec, prices=str(prices)), tmp_path / "run", Silent())
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointError, match="run pip install openai"):
        run(spec, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()
    assert not server.posts
    with pytest.raises(UnknownNameError):
        resolve(replace(spec, strategy="zeroshot"))


def test_results_without_usage_are_read(spec: RunSpec, tmp_path: Path) -> None:
    result = run(spec, tmp_path / "run", Silent())
    assert isinstance(result, RunResult)
    file = tmp_path / "run" / "result.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    del plain["usage"]
    file.write_text(json.dumps(plain), encoding="utf-8")
    assert read_result(file) == replace(result, usage=None)
