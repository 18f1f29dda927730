"""Child processes by the rules of each system, with a pretended `sys.platform`: Windows and macOS are not at hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from semtune.runtime import children


@pytest.mark.parametrize(
    ("platform", "status", "ending"),
    [
        ("linux", 130, "interrupted"), ("linux", -2, "interrupted"), ("linux", -9, "killed"), ("linux", -11, None),
        ("darwin", -9, "killed"), ("darwin", 2, None), ("linux", 0, None),
        ("win32", 130, "interrupted"), ("win32", 0xC000013A, "interrupted"), ("win32", 0xC0000017, "killed"),
        ("win32", 0xC000012D, "killed"), ("win32", 1, None), ("win32", -9, None),
    ],
)  # fmt: skip
def test_what_an_exit_status_says(
    platform: str, status: int, ending: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delattr(signal, "SIGKILL")  # Windows has none
    assert children.ending_of(status) == ending


class Running:
    """A process that runs, and notes the signals it is sent."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def poll(self) -> None:
        return None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


def test_a_group_of_its_own_and_one_interruption_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, options, number in (
        ("linux", {"process_group": 0}, signal.SIGINT),
        ("darwin", {"process_group": 0}, signal.SIGINT),
        ("win32", {"creationflags": 0x200}, 1),  # CREATE_NEW_PROCESS_GROUP; CTRL_BREAK_EVENT, not SIGINT: ValueError
    ):
        monkeypatch.setattr(sys, "platform", platform)
        process: Any = Running()
        children.interrupt(process)
        assert (children.group_options(), process.signals) == (options, [number])


def test_the_working_directory_is_no_place_to_import_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('the working directory was imported from')")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "explicit_plugin.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(tmp_path / "elsewhere"), *sys.path[1:]]))
    program = "import yaml, explicit_plugin, semtune.specs"
    subprocess.run([*children.PYTHON, "-c", program], cwd=tmp_path, env=children.child_environment(), check=True)


def test_a_child_finds_the_semtune_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `cd src; python -m semtune`, where only the working directory led to it."""
    source = str(Path(children.__file__).parents[2])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != source])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert children.child_environment(EXTRA="1")["PYTHONPATH"] == source
    assert children.child_environment(EXTRA="1")["EXTRA"] == "1"
    monkeypatch.setattr(sys, "path", [source])
    assert "PYTHONPATH" not in children.child_environment()
