"""A child ends with its parent, on systems whose kernel says so and on those where a thread has to look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from semtune.runtime import parent

CHILD = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    sys.platform = "{platform}"
    {prelude}
    from semtune.runtime import parent
    parent.POLL_SECONDS = 0.05
    try:
        parent.end_with_parent()
        print("ready", flush=True)
        for _ in range(600):  # interrupt_main does not end a sleep
            time.sleep(0.1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
BETWEEN = """
    import os, subprocess, sys, time
    environment = {{**os.environ, "SEMTUNE_PARENT": str(os.getpid())}}
    child = subprocess.Popen([sys.executable, "-c", {child!r}], env=environment)
    time.sleep(60)
"""


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_child_is_interrupted_when_its_parent_is_killed(platform: str) -> None:
    child = textwrap.dedent(CHILD.format(platform=platform, prelude=""))
    program = textwrap.dedent(BETWEEN).format(child=child)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as between:
        assert between.stdout is not None
        assert between.stdout.readline() == "ready\n"
        between.kill()
        assert between.stdout.readline() == "interrupted\n"


def test_ctrl_break_of_windows_is_an_interruption() -> None:
    """A signal of this system stands for SIGBREAK; psutil says that the parent lives."""
    child = textwrap.dedent(CHILD.format(platform="win32", prelude="signal.SIGBREAK = signal.SIGUSR1"))
    environment = {**os.environ, parent.VARIABLE: str(os.getpid())}
    with subprocess.Popen(
        [sys.executable, "-c", "import psutil\n" + child], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "interrupted\n"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_dead_parent_interrupts_at_once(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    child = textwrap.dedent(CHILD.format(platform=platform, prelude=""))
    environment = {**os.environ, parent.VARIABLE: "1" if os.getpid() != 1 else "2"}
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout == "interrupted\n"
