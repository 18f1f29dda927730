"""A small server of the OpenAI-compatible protocol, over real HTTP, with faults on demand."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "mood-1"
Fault = Callable[[BaseHTTPRequestHandler], None]


def by_keyword(prompt: str) -> str:
    """ "good" for a text with the word "warm", else "bad"."""
    return "good" if "warm" in prompt.rpartition("Text:")[2] else "bad"


@dataclass
class Protocol:
    """What the server does, and what it was asked."""

    answer: Callable[[str], str] = by_keyword
    faults: list[Fault] = field(default_factory=list)
    """Each answers one request in place of the server, in order; then all is well."""
    always: Fault | None = None
    """Answers every request."""
    seconds: float = 0.0
    """How long an answer takes."""
    usage: bool = True
    logprobs: bool = True
    url: str = ""
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Around one request."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def next_fault(self) -> Fault | None:
        with self._lock:
            return self.faults.pop(0) if self.faults else self.always

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The protocol's answer; a token is a word."""
        if path.endswith("/chat/completions"):
            prompt = "\n".join(message["content"] for message in body["messages"])
            text = self.answer(prompt)
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        else:
            prompt = body["prompt"]
            text = " end" if body.get("echo") else " " + self.answer(prompt)
            choice = {"text": prompt + text if body.get("echo") else text, "finish_reason": "stop"}
            if body.get("logprobs") is not None and self.logprobs:
                choice["logprobs"] = word_scores(choice["text"])
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        plain: dict[str, Any] = {"id": "x", "object": "it", "model": body["model"], "choices": [{"index": 0, **choice}]}
        return {**plain, "usage": usage} if self.usage else plain


def word_scores(text: str) -> dict[str, Any]:
    """Each word with the white space before it is a token, whose log-probability is minus its length."""
    found = list(re.finditer(r"\s*\S+", text))
    values: list[float | None] = [-float(len(match.group())) for match in found]
    return {
        "tokens": [match.group() for match in found],
        "token_logprobs": [None, *values[1:]],
        "text_offset": [match.start() for match in found],
    }


def status(code: int, message: str = "so it is", **error: Any) -> Fault:
    """A fault that answers with a status and the protocol's form of an error."""
    return sent(code, json.dumps({"error": {"message": message, **error}}))


def sent(code: int, text: str, kind: str = "application/json") -> Fault:
    """A fault that answers with any text."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = text.encode()
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("retry-after-ms", "1")  # so that tests do not wait for the client's own pauses
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@contextlib.contextmanager
def serving(protocol: Protocol) -> Iterator[Protocol]:
    """`protocol` behind a port of this machine, which `protocol.url` names."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                sent(200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))(self)
            else:
                sent(404, "<html>nothing here</html>", "text/html")(self)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            protocol.posts.append((self.path, body))
            protocol.keys.append(self.headers.get("Authorization"))
            with protocol.counted(), contextlib.suppress(ConnectionError):
                fault = protocol.next_fault()
                protocol.closing.wait(protocol.seconds)
                if fault is not None:
                    fault(self)
                elif not self.path.startswith("/v1/"):
                    sent(404, "<html>nothing here</html>", "text/html")(self)
                elif body["model"] != MODEL:
                    status(404, f"no model {body['model']}")(self)
                else:
                    sent(200, json.dumps(protocol.reply(self.path, body)))(self)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client was interrupted
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        protocol.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield protocol
        finally:
            protocol.closing.set()
            server.shutdown()
            thread.join()
