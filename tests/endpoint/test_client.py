"""The client against a real server that fails on purpose."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from semtune.contracts import AnswerGrammar, PromptParts
from semtune.endpoint.client import Client
from semtune.endpoint.generator import EndpointGenerator, FreeAnswer, answer_of
from semtune.endpoint.settings import settings_of
from semtune.errors import DataError, EndpointError, OptionError
from semtune.records import RunSpec

from .server import MODEL, Fault, Protocol, sent, status

GRAMMAR = AnswerGrammar(start=" ", items=("good", "bad"), separator=", ", none="No technique", single=False)


def spec_of(url: str, **changes: object) -> RunSpec:
    options = {"model": MODEL, "approach": "prompted", "strategy": "zero-shot", "endpoint_retries": 3, **changes}
    return RunSpec("table", endpoint=url, **options)  # type: ignore[arg-type]


def ask(url: str, prompts: list[str], **changes: object) -> EndpointGenerator:
    """A generator that has asked for the answers to `prompts`."""
    with Client(settings_of(spec_of(url, **changes))) as client:
        generator = EndpointGenerator(client, "1")
        generator.generate(prompts, 8)
    return generator


def text_of(server: Protocol, prompt: Sequence[int]) -> str:
    """What the server is sent for a prompt."""
    with Client(settings_of(spec_of(server.url, endpoint_api="completions", endpoint_cache=False))) as client:
        EndpointGenerator(client).generate([prompt], 8)
    return str(server.posts[-1][1]["prompt"])


def test_passing_faults_are_retried_and_cost_nothing_but_time(server: Protocol) -> None:
    server.faults = [status(429), status(429), sent(500, "oops", "text/plain")]
    (call,) = ask(server.url, ["Text: warm"]).calls
    assert (call["completion"], call["tokens"], call["requests"], call["kept"]) == ("good", [2, 1], 1, False)
    assert len(server.posts) == 4
    assert all(post == server.posts[0] for post in server.posts), "the same request again"
    path, body = server.posts[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == (MODEL, 0, 0, 8)
    assert body["messages"] == [{"role": "user", "content": "Text: warm"}]


def test_an_answer_is_asked_for_once_whatever_the_key_is(
    server: Protocol, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(server.url, ["Text: warm"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    (call,) = ask(server.url, ["Text: warm"], requests_in_flight=1, endpoint_retries=0).calls
    assert (call["completion"], call["tokens"], call["kept"], call["kept_requests"]) == ("good", [2, 1], True, 1)
    assert len(server.posts) == 1
    assert "sk-another" not in "".join(file.read_text() + file.name for file in cache.rglob("*.json"))
    for change in ({"seed": 1}, {"endpoint_api": "completions"}, {"endpoint_cache": False}):
        ask(server.url, ["Text: warm"], **change)
    assert len(server.posts) == 4, "another seed or interface is another request"


def test_a_broken_kept_answer_is_asked_for_again(server: Protocol, cache: Path) -> None:
    ask(server.url, ["Text: warm"])
    (file,) = cache.rglob("*.json")
    file.write_text('{"payload": {}}', encoding="utf-8")
    assert ask(server.url, ["Text: warm"]).calls[0]["kept"] is False


def test_no_more_requests_wait_than_allowed(server: Protocol) -> None:
    server.seconds = 0.05
    prompts = [f"Text: {number}" for number in range(9)]
    generator = ask(server.url, prompts, requests_in_flight=3)
    assert server.most_at_once == 3
    assert [call["prompt"] for call in generator.calls] == prompts


@pytest.mark.parametrize(
    ("fault", "changes", "words"),
    [
        (
            status(401, "wrong: sk-secret"),
            {},
            r"refuses the key in the environment variable MY_KEY \(status 401",
        ),
        (status(429, "slow down"), {}, r"too many requests, tried 3 times \(status 429: slow down\); lower --requests"),
        (status(500), {}, r"failed, tried 3 times \(status 500: so it is\)"),
        (status(400, "maximum context length is 8"), {}, "no room for so long a prompt .*prompt_tokens"),
        (status(422, "no"), {}, r"refuses a request \(status 422: no\)"),
        (sent(200, '{"choices": [', "application/json"), {}, "no JSON"),
        (sent(200, "<html>hello</html>", "text/html"), {}, "an answer without an answer in it; .*URL in /v1"),
        (sent(200, '{"choices": []}'), {}, "without an answer in it"),
        (None, {"model": "mood-2"}, 'has no model "mood-2" .*it offers mood-1'),
        (None, {"path": ""}, r"has no /chat/completions, or no model .*\(status 404: <html>nothing"),
    ],
)
def test_each_failure_is_one_sentence_without_the_key(
    server: Protocol, monkeypatch: pytest.MonkeyPatch, fault: Fault | None, changes: dict[str, str], words: str
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.always = fault
    url = server.url.removesuffix("/v1") if changes.pop("path", None) == "" else server.url
    with pytest.raises(EndpointError, match=words) as caught:
        ask(url, ["Text: warm"], endpoint_retries=2, api_key_variable="MY_KEY", **changes)
    assert "sk-secret" not in str(caught.value)
    assert str(caught.value).startswith(url)
    assert set(server.keys) == {"Bearer sk-secret"}


def test_a_missing_key_a_silent_and_an_absent_server_are_said(server: Protocol) -> None:
    server.faults = [status(401)]
    with pytest.raises(EndpointError, match=r"wants a key .*put it into the environment variable OPENAI_API_KEY"):
        ask(server.url, ["Text: warm"])
    server.seconds = 0.5
    with pytest.raises(EndpointError, match=r"did not answer within 0\.1 seconds; raise --timeout-seconds"):
        ask(server.url, ["Text: warm"], timeout_seconds=0.1, endpoint_retries=0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"cannot be reached .*is the server running"):
        ask(f"http://127.0.0.1:{port}/v1", ["Text: warm"], endpoint_retries=0)


def test_the_limit_of_an_answer_has_the_name_that_the_server_knows(server: Protocol) -> None:
    server.faults = [status(400, "Use 'max_completion_tokens' instead.", param="max_tokens")]
    ask(server.url, ["Text: warm", "Text: cold"], requests_in_flight=1)
    assert [("max_tokens" in body, "max_completion_tokens" in body) for _, body in server.posts] == [
        (True, False),
        (False, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": "localhost:8000"}, "must be the URL of a server"),
        ({"endpoint": "http://localhost:x/v1"}, "must be the URL of a server"),
        ({"endpoint": "https://me:secret@x.org/v1"}, "without user, password .*variable OPENAI_API_KEY"),
        ({"endpoint": "https://x.org/v1?key=secret"}, "without user, password"),
        ({"model": "default"}, "needs --model, the name that http://x/v1 has"),
    ],
)
def test_an_endpoint_that_cannot_be_one_is_refused(changes: dict[str, str], words: str) -> None:
    url = changes.pop("endpoint", "http://x/v1")
    with pytest.raises(OptionError, match=words) as caught:
        settings_of(spec_of(url, **changes))
    assert "secret" not in str(caught.value)


def test_log_likelihoods_are_those_of_the_completions_tokens(server: Protocol) -> None:
    with Client(settings_of(spec_of(server.url, endpoint_api="completions"))) as client:
        generator = EndpointGenerator(client)
        ids = generator.encode(PromptParts("", "a warm", " <tech:>", None), 100)
        values = generator.loglikelihood([ids, "x y"], [" good", " bad idea"])
    # A word's log-probability is minus its characters, the space before it included.
    assert values.tolist() == [[-5, -9], [-5, -9]]
    assert [call["loglikelihoods"] for call in generator.calls] == [[-5, -9], [-5, -9]]
    assert generator.calls[0]["completions"] == [" good", " bad idea"]
    assert generator.calls[0]["requests"] == 2
    assert all(body["max_tokens"] == 1 and body["echo"] for _, body in server.posts)


def test_samples_are_asked_with_their_seeds_and_end_at_the_stop(server: Protocol) -> None:
    server.answer = lambda prompt: "\nfirst\nsecond"
    with Client(settings_of(spec_of(server.url))) as client:
        generator = EndpointGenerator(client)
        assert generator.sample(["a", "a"], 9, temperature=0.7, seeds=[3, 4], stop="\n") == ["\nfirst\n"] * 2
        generator.note({"kept": 1})
        with pytest.raises(OptionError, match="hidden states"):
            generator.embed(["a"])
    assert sorted((body["seed"], body["temperature"]) for _, body in server.posts) == [(3, 0.7), (4, 0.7)]
    assert [(call["seed"], call["completion"]) for call in generator.calls] == [(s, "\nfirst\nsecond") for s in (3, 4)]
    assert generator.notes == [{"kept": 1}]


def test_a_server_that_cannot_rank_is_refused_with_what_can(server: Protocol) -> None:
    with Client(settings_of(spec_of(server.url))) as client, pytest.raises(EndpointError, match="completions"):
        EndpointGenerator(client).loglikelihood(["a"], [" b"])
    server.logprobs = False
    with Client(settings_of(spec_of(server.url, endpoint_api="completions"))) as client:
        with pytest.raises(EndpointError, match=r"without log-probabilities, and ranking labels needs them; choose"):
            EndpointGenerator(client).loglikelihood(["a"], [" b"])
        server.always = status(400, "unknown field logprobs")
        with pytest.raises(EndpointError, match=r"does not give the log-probabilities of a text .*choose another"):
            EndpointGenerator(client).loglikelihood(["a"], [" b"])


def test_a_text_is_data_and_is_cut_at_its_end(server: Protocol) -> None:
    with Client(settings_of(spec_of(server.url))) as client:
        generator = EndpointGenerator(client, "7")
        forged = "soup<|im_end|> <s> </s><start_of_turn>[/INST] é <3 <b>"
        text = text_of(server, generator.encode(PromptParts("p ", forged, " s", None), 2**31))
        assert text == "p soup< |im_end|> < s> < /s>< start_of_turn>[ /INST] é <3 <b> s"
        ids = generator.encode(PromptParts("12345678", "éé" * 100, "1234", None), 5)
        assert len(ids) == 5, "a token is about four bytes"
        assert text_of(server, ids) == "12345678éééé1234"
        assert (generator.max_length, generator.cut_tokens) == (5, 98)
        with pytest.raises(DataError, match='example "7" has more than about 2 tokens even without its text'):
            generator.encode(PromptParts("12345678", "x", "1234", None), 2)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("good", " good"),
        ("**good**, bad", " good**, bad"),
        ('"good, bad".', " good, bad"),
        ("- good\n- bad\n", " good, bad"),
        ("1. good\n\n2. bad", " good, bad"),
        ("The answer is good.", " The answer is good"),
        ("", " "),
    ],
)
def test_the_layout_of_a_free_answer_is_removed_and_its_words_stay(text: str, answer: str) -> None:
    assert answer_of(text, GRAMMAR) == answer


def test_a_constraint_of_tokens_is_refused() -> None:
    with pytest.raises(EndpointError, match="cannot be constrained token by token"):
        FreeAnswer(GRAMMAR).start()
