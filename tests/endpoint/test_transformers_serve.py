"""The client against `transformers serve`, whose answers are those of the same model in this process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from semtune.endpoint.client import Client
from semtune.endpoint.generator import EndpointGenerator
from semtune.endpoint.settings import settings_of
from semtune.errors import EndpointError
from semtune.records import RunSpec, TaskOptions
from semtune.runs.runner import run

from ..runs.test_runner import Silent

pytestmark = pytest.mark.slow
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template."""
    for package in ("openai", "fastapi", "uvicorn"):
        pytest.importorskip(package, reason='needs `pip install "transformers[serving]"`')
    folder = tmp_path_factory.mktemp("served") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu"]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _wait(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(health, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"transformers serve did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_run_has_the_answers_of_the_model_itself(
    api: str, model: Path, url: str, reviews: Path, tmp_path: Path
) -> None:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    known = {"approach": "prompted", "strategy": "zero-shot", "task_options": options, "requests_in_flight": 2}
    spec = RunSpec("table", model=str(model), endpoint=url, endpoint_api=api, **known)  # type: ignore[arg-type]
    result = run(spec, tmp_path / "run", Silent())
    assert result.status == "ok"
    assert result.scores["test"].parse_failures == 1, "a random model writes no labels"
    tokenizer, here = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    for line in (tmp_path / "run" / "transcripts.jsonl").read_text(encoding="utf-8").splitlines():
        (call,) = json.loads(line)["calls"]
        prompt = call["prompt"] if api == "completions" else f"{call['instruction']}\n{call['prompt']}\n"
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            output = here.generate(ids, max_new_tokens=call["tokens"][1], do_sample=False)[0, ids.shape[1] :]
        expected = tokenizer.decode(output, skip_special_tokens=True)
        assert call["completion"] == expected
        assert call["tokens"] == [ids.shape[1], len(output)]


def test_a_model_that_cannot_be_ranked_says_so(model: Path, url: str) -> None:
    known = {"approach": "prompted", "strategy": "zero-shot", "endpoint_api": "completions"}
    spec = RunSpec("table", model=str(model), endpoint=url, **known)  # type: ignore[arg-type]
    with (
        Client(settings_of(spec)) as client,
        pytest.raises(EndpointError, match="without log-probabilities, and ranking labels needs them"),
    ):
        EndpointGenerator(client).loglikelihood(["a"], [" b"])
