"""What an earlier run has trained stays until the new run has ended well, wherever a process is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from semtune.errors import DataError, OutputError
from semtune.records import RunSpec, TaskOptions
from semtune.registry import TASKS
from semtune.runs.folder import RunFolder, read_result
from semtune.runs.load import load_run
from semtune.runs.runner import run

from .test_runner import Silent

OLD = RunSpec("practice", approach="baseline", baseline="top-1")
NEW = replace(OLD, baseline="top-3")
DYING = """
import os, shutil, sys
from pathlib import Path

def dies(function, number, seen=[]):
    def call(*arguments, **options):
        seen.append(None)
        if len(seen) == number:
            os._exit(9)
        return function(*arguments, **options)
    return call
"""
"""The beginning of a program that plants a death: `dies(f, n)` is `f` until its n-th call, which ends the process."""
OVERWRITING = (
    DYING
    + """
from semtune.progress import NoProgress
from semtune.records import RunSpec
from semtune.runs import folder, succession
from semtune.runs.runner import run

spec = RunSpec("practice", approach="baseline", baseline="top-3")
name, number = sys.argv[2], int(sys.argv[3])
begin = succession.accept

def accept(where):
    if name == "replace":
        Path.replace = dies(Path.replace, number)
    elif name == "unlink":
        Path.unlink = dies(Path.unlink, number)
    elif name == "rmtree":
        shutil.rmtree = dies(shutil.rmtree, number)
    else:
        os.link = dies(os.link, number)
    begin(where)

succession.accept = accept
run(spec, Path(sys.argv[1]), NoProgress(), overwrite=True)
"""
)


def labels_of(folder: Path) -> int:
    """The number of labels that the run's baseline gives to every text: 1 for the old one, 3 for the new one."""
    (prediction,) = load_run(folder).predict(TASKS.get("practice")(TaskOptions()).load("test")[:1])
    return len(prediction.labels)


def run_program(program: str, *arguments: object) -> int:
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=False, timeout=120).returncode


@pytest.mark.parametrize(
    ("name", "number", "stands"),
    [("replace", 1, 1), ("replace", 2, 3), ("unlink", 3, 3), ("rmtree", 2, 3), ("link", 4, 3)],
)
def test_a_run_that_is_killed_while_it_replaces_another_leaves_the_old_or_the_new_one(
    name: str, number: int, stands: int, tmp_path: Path
) -> None:
    """A death at every rename, and at some of the removals and links between them."""
    out = tmp_path / "run"
    run(OLD, out, Silent())
    assert run_program(OVERWRITING, out, name, number) == 9
    assert labels_of(out) == stands
    assert RunFolder.current(out).finished()
    run(replace(NEW, seed=1), out, Silent(), overwrite=True)
    assert labels_of(out) == 3
    assert read_result(out / "result.json").seed == 1
    left = {path.name for path in out.iterdir()}
    assert left == {
        "spec.yaml", "labels.json", "environment.json", "fitted", "result.json", "predictions-dev.json",
        "predictions-test.json",
    }  # fmt: skip


KEEPING = (
    DYING
    + """
from semtune.runs.folder import RunFolder

folder = RunFolder(Path(sys.argv[1]))

def save(text):
    def write(where):
        where.mkdir(parents=True)
        (where / "weights").write_text(text)
    return write

folder.keep_best(save("epoch 1"))
Path.replace = dies(Path.replace, int(sys.argv[2]))
folder.keep_best(save("epoch 2"))
"""
)


@pytest.mark.parametrize("rename", [1, 2])
def test_a_death_between_the_renames_of_a_checkpoint_leaves_one(rename: int, tmp_path: Path) -> None:
    assert run_program(KEEPING, tmp_path, rename) == 9
    kept = RunFolder(tmp_path).kept()
    assert kept is not None
    assert (kept / "weights").read_text() == "epoch 1"


def save_some(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "weights").write_text("some")


def break_rename(monkeypatch: pytest.MonkeyPatch, rename: int, error: BaseException, *, moved: bool) -> None:
    """Raise `error` in the rename of that number from now on, after it has moved what it renames or instead."""
    genuine, calls = Path.replace, list[Path]()

    def replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) != rename:
            return genuine(self, target)
        if moved:
            genuine(self, target)
        raise error

    monkeypatch.setattr(Path, "replace", replace)


def test_an_interruption_after_the_last_rename_of_a_checkpoint_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.keep_best(save_some)
    break_rename(monkeypatch, 2, KeyboardInterrupt(), moved=True)
    with pytest.raises(KeyboardInterrupt):
        folder.keep_best(save_some)
    assert (folder.best / "weights").exists()


@pytest.mark.parametrize("rename", [1, 2])
def test_a_rename_that_fails_leaves_a_checkpoint_too(
    rename: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.keep_best(save_some)
    break_rename(monkeypatch, rename, PermissionError(13, "in use"), moved=False)
    with pytest.raises(PermissionError):
        folder.keep_best(save_some)
    assert (folder.best / "weights").exists()
    folder.keep_best(save_some)
    assert (folder.best / "weights").exists() and not folder.former.exists()


def test_a_run_that_fails_leaves_the_one_that_it_should_have_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    first = run(OLD, out, Silent())

    def refuse(*_: object) -> None:
        raise DataError("The fit fails.")

    with monkeypatch.context() as patch:
        patch.setattr("semtune.approaches.baseline.BaselineApproach.fit", refuse)
        with pytest.raises(DataError):
            run(NEW, out, Silent(), overwrite=True)
    assert read_result(out / "result.json") == first
    assert labels_of(out) == 1
    failed = read_result(out / "successor" / "result.json")
    assert (failed.status, failed.name, failed.out) == ("failed", "top-3", "run/successor")
    assert run(NEW, out, Silent(), overwrite=True).out == "run"
    assert labels_of(out) == 3
    assert not (out / "successor").exists()


def test_an_interrupted_successor_that_has_learnt_something_stays_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(OLD, out, Silent())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("semtune.approaches.baseline.BaselineApproach.predict", interrupt)
        for name in ("successor", "successor-2"):
            result = run(NEW, out, Silent(), overwrite=True)
            assert (result.status, result.out) == ("interrupted", f"run/{name}")
            assert f"{name}/fitted/" in str(result.reason)
    assert [labels_of(folder) for folder in (out, out / "successor", out / "successor-2")] == [1, 3, 3]


def test_links_are_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    run(OLD, out, Silent())

    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr("os.link", refuse)
    run(NEW, out, Silent(), overwrite=True)
    assert labels_of(out) == 3


def test_what_is_not_a_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "accepted").mkdir()
    (tmp_path / "accepted" / "letter.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not a run"):
            run(OLD, tmp_path, Silent(), overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["accepted", "letter.txt"]


def test_an_old_folder_can_be_replaced(tmp_path: Path) -> None:
    """One of version 0.1.0, whose files know no ids."""
    out = tmp_path / "run"
    run(OLD, out, Silent())
    plain = json.loads((out / "result.json").read_text())
    for key in ("run_id", "spec_fingerprint", "data_fingerprint", "model_fingerprint", "code_version", "ended_at",
                "kept_from", "overlaps"):  # fmt: skip
        plain.pop(key)
    (out / "result.json").write_text(json.dumps(plain))
    assert read_result(out / "result.json").run_id is None
    run(NEW, out, Silent(), overwrite=True)
    assert labels_of(out) == 3


@pytest.mark.parametrize(
    ("status", "holds"),
    [
        ("ok", "a finished run"),
        ("interrupted", "a run that was interrupted, with what it had trained"),
        ("diverged", "a run that did not end well, with what it had trained"),
        (None, "what a run had trained when it was cut off"),
    ],
)
def test_what_a_new_run_would_replace_is_said(status: str | None, holds: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.adapter.mkdir()
    folder.spec.write_text("task: practice\n", encoding="utf-8")
    if status is not None:
        folder.result.write_text(json.dumps({"status": status}), encoding="utf-8")
    with pytest.raises(OutputError, match=f"holds {holds}; choose another --out, or replace it with --overwrite"):
        run(OLD, tmp_path, Silent())
    assert folder.adapter.exists()
