"""Odd surroundings: no traceback, and nothing that was computed is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semtune.records import RunSpec
from semtune.runs import identity
from semtune.specs import resolve, spec_from
from semtune.study.launchers.process import ProcessLauncher

from .conftest import Semtune
from .test_bad_input import refuse

QUICK = ["tune", "--task", "practice", "--approach", "baseline", "--baseline", "top-1", "--out", "run"]
"""A run without torch."""
FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
Started = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Started:
    """Runs `semtune ARGUMENTS` with any streams and environment; its working folder is `tmp_path`."""

    def run(*arguments: object, env: dict[str, str] | None = None, **options: object) -> object:
        environment = {**os.environ, "SEMTUNE_CACHE": str(tmp_path / "cache"), **(env or {})}
        command = [sys.executable, "-m", "semtune", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        encoding = environment.get("PYTHONIOENCODING") or "utf-8"
        return subprocess.run(command, cwd=tmp_path, env=environment, encoding=encoding, timeout=300, **streams)  # type: ignore[call-overload]

    return run  # type: ignore[return-value]


def complaint(stderr: str) -> str:
    """The one sentence on standard error."""
    assert "Traceback" not in stderr and "Exception ignored" not in stderr, stderr
    (said,) = [line for line in stderr.splitlines() if line.startswith("semtune: ")]
    return said


def status_of(run: Path) -> str:
    return str(json.loads((run / "result.json").read_text())["status"])


@needs_full_device
def test_a_full_disk_behind_standard_output(start: Started, tmp_path: Path) -> None:
    for arguments in (QUICK, ["predict", "run", "some text"], ["--help"], ["list", "tasks", "--json"]):
        with FULL.open("w") as full:
            done = start(*arguments, stdout=full)
        assert done.returncode == 1, arguments
        assert "standard output cannot be written (No space left on device)" in complaint(done.stderr)
    assert status_of(tmp_path / "run") == "ok"


@needs_full_device
def test_a_full_disk_under_the_log_loses_no_run(start: Started, tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = start(*QUICK, stderr=full)
    assert done.returncode == 0
    assert "the run is in run" in done.stdout
    assert status_of(tmp_path / "run") == "ok"


def test_readers_that_went_away(start: Started, tmp_path: Path) -> None:
    for stream in ("stdout", "stderr"):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = start(*QUICK, "--overwrite", **{stream: writing})
        finally:
            os.close(writing)
        assert done.returncode == (1 if stream == "stdout" else 0)
        assert "Traceback" not in (done.stderr or "") and "ignored" not in (done.stderr or "")
        assert status_of(tmp_path / "run") == "ok"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_that_were_closed_before(closed: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m semtune {' '.join(QUICK)} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert status_of(tmp_path / "run") == "ok"


@needs_full_device
def test_a_report_is_written_before_it_is_printed(start: Started, tmp_path: Path) -> None:
    record = {
        "format": 1, "task": "practice", "answer": "label_set", "labels": ["a"], "task_notes": [], "command": "it",
        "metrics": [{"name": "micro_f1", "title": "micro-F1", "higher_is_better": True, "short": ""}],
        "spec": {}, "environment": {}, "runs": [], "baselines": [], "leaderboard": [], "unlabelled_splits": [],
    }  # fmt: skip
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text(json.dumps(record))
    with FULL.open("w") as full:
        done = start("report", "study", stdout=full)
    assert done.returncode == 1
    assert "files are complete" in complaint(done.stderr)
    assert "</html>" in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_encoding_that_lacks_characters(encoding: str, start: Started, tmp_path: Path) -> None:
    text = "日本語 – naïve"
    start(*QUICK)
    for arguments in (["predict", "run", text], ["predict", "run", text, "--json"], ["predict", "ロ", text]):
        done = start(*arguments, env={"PYTHONIOENCODING": encoding})
        assert "Traceback" not in done.stderr
        if "--json" in arguments:
            assert json.loads(done.stdout)[0]["text"] == text
        elif arguments[1] == "run":
            assert done.stdout.startswith("\\u65e5\\u672c\\u8a9e \\u2013 na")
        else:
            assert "\\u30ed is not a run folder" in complaint(done.stderr)


def test_a_lone_surrogate_on_the_command_line_can_be_printed(start: Started) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"semtune", b"predict", b"no\xff-run", b"text", b"--json"],
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert '"no\\udcff-run" holds a byte that is not UTF-8' in json.loads(done.stdout)["error"]


def test_a_user_without_a_name_or_home(tiny_model: Path, reviews: Path, start: Started, tmp_path: Path) -> None:
    """As of `docker run --user 12345`: libraries that ask for the user's name or home get an exception."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import pwd\n\ndef nobody(_):\n    raise KeyError('uid not found')\n\npwd.getpwuid = pwd.getpwnam = nobody\n"
    )
    nameless = dict.fromkeys(("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "HF_HOME", "XDG_CACHE_HOME"), "")
    environment = {k: v for k, v in os.environ.items() if k not in nameless and k != "SEMTUNE_CACHE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    columns = ["--text-column", "comment", "--label-column", "mood"]
    tune = [
        "tune",
        "--task",
        "table",
        "--data",
        reviews,
        *columns,
        "--model",
        tiny_model,
        "--epochs",
        1,
        "--threads",
        1,
    ]
    command = [sys.executable, "-m", "semtune"]
    for arguments in ([*tune, "--out", "run"], ["predict", "run", "warm bread"]):
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "~").exists(), "no folder is called ~"


@pytest.mark.parametrize("device", ["xpu", "meta", "cpu:7", "nonsense"])
def test_devices_that_semtune_does_not_run_on(
    device: str, semtune: Semtune, tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    if device != "nonsense":
        from semtune.errors import OptionError
        from semtune.models.devices import resolve_device

        with pytest.raises(OptionError, match=device):
            resolve_device(device)
        return
    arguments = ["--text-column", "comment", "--label-column", "mood", "--model", tiny_model, "--device", device]
    assert f'"{device}"' in refuse(semtune, "tune", "--task", "table", "--data", reviews, *arguments, "--out", "run")
    assert not (tmp_path / "run").exists()


INTERRUPTED_IMPORT = """
import os, signal, time

def library():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # the handler runs here
    except BaseException as error:
        raise {raised}

library()
"""


@pytest.mark.parametrize(
    "raised",
    [
        "ImportError('initialization failed')",  # as C code that imports another module
        "ImportError('numpy cannot be imported') from error",
        "SystemExit(0)",
    ],
)
def test_ctrl_c_while_a_library_is_imported(raised: str, start: Started, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "slow_library.py").write_text(INTERRUPTED_IMPORT.format(raised=raised))
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    done = start("list", "tasks", env={"PYTHONPATH": path, "SEMTUNE_PLUGINS": "slow_library"})
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted; what was finished is kept\n"


def test_nothing_is_imported_from_the_working_directory(
    start: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command itself, by the children of a study, and as a plugin: those are installed or in PYTHONPATH."""
    for name in ("yaml", "numpy", "torch", "rich", "a_plugin"):
        (tmp_path / f"{name}.py").write_text(f"open('{name} was imported', 'w')\n")
    assert start("list", "tasks").returncode == 0
    monkeypatch.chdir(tmp_path)
    spec: RunSpec = resolve(spec_from({"task": "practice", "approach": "baseline", "baseline": "top-1"}, "the test"))
    identity.request(tmp_path / "run", spec)
    launcher = ProcessLauncher(1)
    _, result = launcher.wait([launcher.submit(spec, tmp_path / "run")])
    assert result.status == "ok"
    done = start("list", "tasks", env={"SEMTUNE_PLUGINS": "a_plugin"})
    assert done.returncode == 2
    assert "PYTHONPATH" in complaint(done.stderr)
    assert not list(tmp_path.glob("* was imported"))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    (tmp_path / "yaml.py").unlink(), (tmp_path / "numpy.py").unlink(), (tmp_path / "rich.py").unlink()
    start("list", "tasks", env={"SEMTUNE_PLUGINS": "a_plugin", "PYTHONPATH": path})
    assert (tmp_path / "a_plugin was imported").exists(), "a plugin that is named and can be found works"


def test_markup_in_names_and_texts_is_text(start: Started, tmp_path: Path) -> None:
    start(*QUICK[:-1], "run[/bold]")
    done = start("predict", "run[/bold]", "[/bold] :smile: [red]text[/red] \x1b[31m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[/bold] :smile: [red]text[/red] \\x1b[31m\t")
    assert "loading run[/bold]" in done.stderr
    assert "[/red]" in complaint(start("predict", "no[/red]run", "text").stderr)
