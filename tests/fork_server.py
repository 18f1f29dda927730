"""Runs `python -m semtune …` in forks of a process that has imported torch and transformers already.

Importing them takes most of the time of a command on a tiny model. A fork is a process of its own as any other: it has
its own memory, signals, output and exit status, and it imports semtune itself. Only what the interpreter and those
libraries read at their start (PYTHON… variables, -P, limits of instructions) is the server's, and the interpreter is
not taken apart at the end; tests of such things start processes of their own.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "torch",
    "transformers.modeling_utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto",
    "sklearn.metrics",
    "typer",
    "rich.console",
    "pydantic",
    "tokenizers",
    "yaml",
)


class ForkServer:
    """The server's process and the socket through which it takes commands; one command at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._socket = folder, folder / "socket"
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-P", __file__, str(self._socket)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        self._count = 0

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([sys.executable, "-m", "semtune", *arguments], …)` with captured text.

        Raises subprocess.TimeoutExpired.
        """
        self._count += 1
        files = [self._folder / f"{self._count}.{name}" for name in ("out", "err")]
        request = {"argv": list(arguments), "cwd": str(cwd), "env": dict(env), "files": [str(file) for file in files]}
        with self._connection() as connection:
            stream = connection.makefile("rw", encoding="utf-8")
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            pid = int(stream.readline())
            connection.settimeout(timeout)
            try:
                status = int(stream.readline())
            except TimeoutError as error:
                os.kill(pid, 9)
                raise subprocess.TimeoutExpired(list(arguments), timeout) from error
        out, err = (file.read_text(encoding="utf-8") for file in files)
        for file in files:
            file.unlink()
        return subprocess.CompletedProcess(list(arguments), status, out, err)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _connection(self) -> socket.socket:
        end = time.monotonic() + 120
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._socket))
                return connection
            except OSError:
                connection.close()
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)


def _serve(path: str) -> None:
    """Import the libraries, then fork for each request; returns in a fork alone, which is to run the command."""
    for name in PRELOADED:
        __import__(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rw", encoding="utf-8") as stream:
                request = json.loads(stream.readline())
                pid = os.fork()
                if pid == 0:
                    server.close()
                    break
                stream.write(f"{pid}\n")
                stream.flush()
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                stream.write(f"{status}\n")
                stream.flush()
    _become(request)


def _become(request: dict[str, object]) -> None:
    """Take the request's working folder, environment, arguments and output files."""
    for descriptor, file in zip((1, 2), request["files"], strict=True):  # type: ignore[arg-type, var-annotated, call-overload]
        opened = os.open(str(file), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [str(Path.cwd()), *(path for path in paths if path and path not in sys.path)]
    sys.argv = ["semtune", *request["argv"]]  # type: ignore[misc]
    random.seed()


def _end(ended: SystemExit) -> NoReturn:
    """End as the interpreter does, without taking modules apart: in a fork that copied most of the server's memory."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
    try:
        runpy.run_module("semtune", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        _end(ended)
