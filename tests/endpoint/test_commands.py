"""Endpoints on the command line and in studies: `tune`, `predict`, `plan`, `study`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from semtune.study.grid import study_from
from semtune.study.rows import prompted_runs

from ..cli.conftest import Semtune, last_json, semtune
from .server import MODEL, Protocol, status

__all__ = ["semtune"]


@pytest.fixture
def asked(server: Protocol, reviews: Path) -> list[str]:
    """Arguments of a prompted run on the server."""
    task = shlex.split(
        "--task table --text-column comment --label-column mood --approach prompted --strategy zero-shot"
    )
    return [*task, "--data", str(reviews), "--endpoint", server.url, "--model", MODEL]


def test_a_run_and_its_predictions(asked: list[str], semtune: Semtune, server: Protocol) -> None:
    found = last_json(semtune("tune", *asked, "--out", "run", "--json"))
    assert (found["status"], found["usage"]["requests"]) == ("ok", 12)
    done = semtune("predict", "run", "a warm soup", "a cold soup")
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["good", "bad"]
    server.always = status(401, "who are you?")
    failed = semtune("tune", *asked, "--seed", "1", "--out", "other", "--endpoint-retries", "0", check=2)
    (line,) = failed.stderr.strip().splitlines()[-1:]
    assert f"{server.url} wants a key (status 401: who are you?)" in line
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--approach tuned", "A server answers prompts and is neither tuned"),
        ("--approach baseline --baseline top-1", "--endpoint have no effect on the approach baseline; leave"),
        (
            "--approach prompted --strategy zero-shot --device cpu",
            "--device has no effect on the approach prompted with",
        ),
        ("--approach prompted --strategy zero-shot --endpoint-api chats", '"endpoint_api" cannot be'),
        ("--approach prompted --strategy zero-shot --requests-in-flight 0", "in-flight must be at least 1"),
    ],
)
def test_what_has_no_effect_or_meaning_is_refused(semtune: Semtune, words: str, complaint: str) -> None:
    server = ["--endpoint", "http://localhost:1/v1", "--model", MODEL]
    done = semtune("tune", "--task", "practice", *server, *words.split(), "--out", "run", check=2)
    assert complaint in " ".join(done.stderr.split())


def test_a_plan_needs_no_memory_here(semtune: Semtune) -> None:
    server = ["--endpoint", "http://localhost:1/v1", "--model", MODEL]
    done = semtune("plan", *server)
    assert "no weights are loaded here, and prompting it fits on any machine" in " ".join(done.stdout.split())
    (plan,) = last_json(semtune("plan", *server, "--json"))
    assert plan["fits"] is True
    assert "leave --method or --endpoint out" in semtune("plan", *server, "--method", "lora", check=2).stderr


STUDY = """
    task: table
    task_options: {data: DATA, text_column: comment, label_column: mood}
    strategies: [zero-shot]
    baselines: []
    epochs: 1
    threads: 1
    endpoint: URL
    endpoint_models: [MODEL]
    requests_in_flight: 2
    prices: prices.yaml
"""


def study(tmp_path: Path, server: Protocol, reviews: Path, **more: object) -> Path:
    """A study file with the keys `more`, and its prices."""
    (tmp_path / "prices.yaml").write_text(f"models: {{{MODEL}: {{in: 1, out: 1}}}}\n", encoding="utf-8")
    values = yaml.safe_load(STUDY.replace("DATA", str(reviews)).replace("URL", server.url).replace("MODEL", MODEL))
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**values, **more}), encoding="utf-8")
    return file


def test_a_study_of_a_server_alone_goes_on_and_says_what_it_cost(
    semtune: Semtune, server: Protocol, reviews: Path, tmp_path: Path
) -> None:
    file = study(tmp_path, server, reviews, methods=[])
    done = semtune("study", file, "--out", "study", "--json")
    (run,) = last_json(done)["runs"]
    assert (run["status"], run["model"], run["approach"]) == ("ok", MODEL, "prompted")
    assert run["scores"]["test"]["micro_f1"] == 1
    assert run["usage"]["cost"] > 0
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "Tokens in" in page
    assert "USD per 1,000 texts" in page
    count = len(server.posts)
    (again,) = last_json(semtune("study", file, "--out", "study", "--json"))["runs"]
    assert again["run_id"] == run["run_id"]
    assert len(server.posts) == count


def test_models_in_memory_know_nothing_of_the_server(
    server: Protocol, reviews: Path, tiny_model: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load(study(tmp_path, server, reviews).read_text(encoding="utf-8"))
    found = study_from({**values, "models": [str(tiny_model)], "methods": ["lora"]}, "it")
    (tuned,) = found.runs().values()
    assert (tuned.model, tuned.endpoint, tuned.prices) == (str(tiny_model), None, None)
    here, there = prompted_runs(found).values()
    assert (here.model, here.endpoint, here.requests_in_flight) == (str(tiny_model), None, 4)
    assert (there.model, there.endpoint, there.requests_in_flight) == (MODEL, server.url, 2)
    assert len(set(prompted_runs(found))) == 2


@pytest.mark.slow  # four processes
def test_tuned_and_prompted_models_here_and_there_are_one_table(
    semtune: Semtune, server: Protocol, reviews: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = study(tmp_path, server, reviews, models=[str(tiny_model)], methods=["lora"])
    done = semtune("study", file, "--out", "study", "--json")
    runs = {(run["approach"], run["model"]): run for run in last_json(done)["runs"]}
    assert set(runs) == {("tuned", str(tiny_model)), ("prompted", str(tiny_model)), ("prompted", MODEL)}
    assert all(run["status"] == "ok" for run in runs.values())
    assert runs["prompted", str(tiny_model)]["usage"]["cost"] is None
    assert runs["prompted", str(tiny_model)]["usage"]["prompt_tokens"] > 0
    assert runs["tuned", str(tiny_model)]["usage"] is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--endpoint http://x/v1 --strategies zero-shot", "names an endpoint and no endpoint_models; give both"),
        ("--endpoint-models m --strategies zero-shot", "names endpoint_models and no endpoint; give both"),
        ("--endpoint http://x/v1 --endpoint-models m", "which prompting strategies ask, and no strategies"),
    ],
)
def test_half_a_server_in_a_study_is_refused(semtune: Semtune, words: str, complaint: str) -> None:
    done = semtune("study", "--task", "practice", *words.split(), "--out", "study", check=2)
    assert complaint in " ".join(done.stderr.split())
