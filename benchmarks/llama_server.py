"""llama-cpp-python's own server as a contestant: a process of another Python environment that answers completions.

The server keeps the keys and values of the tokens that two requests in a row begin alike with, and answers one request
at a time, which is all it does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

START_SECONDS = 120.0
ANSWER_SECONDS = 600.0


class LlamaServer:
    """A running server; a context manager that ends it."""

    def __init__(self, python: str, gguf: Path, threads: int, context_tokens: int) -> None:
        """`python`: the interpreter of an environment with llama-cpp-python[server]. Raises RuntimeError."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        options = {"model": gguf, "n_ctx": context_tokens, "n_threads": threads, "n_threads_batch": threads}
        given = [f"--{name}={value}" for name, value in (options | {"port": self._port, "verbose": "false"}).items()]
        self._process = subprocess.Popen(
            [python, "-m", "llama_cpp.server", *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    def complete(self, prompts: Sequence[str], new_tokens: int) -> list[dict[str, Any]]:
        """The answers to prompts, one after the other: `text`, `prompt_tokens`, `completion_tokens`."""
        return [self._complete(prompt, new_tokens) for prompt in prompts]

    def _complete(self, prompt: str, new_tokens: int) -> dict[str, Any]:
        body = {"prompt": prompt, "max_tokens": new_tokens, "temperature": 0.0}
        answer = self._ask("/v1/completions", body)
        return {"text": answer["choices"][0]["text"], **answer["usage"]}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            return json.load(response)

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self._ask("/v1/models")
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        self.stop()
        raise RuntimeError("llama_cpp.server has not started; run it by hand to see why")

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> LlamaServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
