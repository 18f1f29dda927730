"""A compiled library that was built from other sources than those beside it is not used."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semtune.nn import kernels
from semtune.nn.kernels import VERSION_SYMBOL
from semtune.runtime.sources import C_SUFFIXES, sources_digest

FOLDER = Path(kernels.__file__).parent
LIBRARY = next(FOLDER.glob("_compiled*.so"), None)
built = pytest.mark.skipif(LIBRARY is None, reason="no compiled kernels here")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The library and its sources in another folder."""
    assert LIBRARY is not None
    for file in (LIBRARY, *FOLDER.glob("*.c"), *FOLDER.glob("*.h")):
        shutil.copy(file, tmp_path)
    return tmp_path


@built
def test_a_library_of_these_sources_is_used(copied: Path) -> None:
    library, state = kernels.load_library(copied)
    assert (library is not None, state) == (True, "compiled")
    version = getattr(ctypes.CDLL(str(LIBRARY)), VERSION_SYMBOL)
    version.restype = ctypes.c_char_p
    assert version().decode() == sources_digest(FOLDER, suffixes=C_SUFFIXES)


@built
@pytest.mark.parametrize("change", ["edited", "new", "gone", "header"])
def test_a_library_of_other_sources_is_not(copied: Path, change: str) -> None:
    if change == "new":
        (copied / "another.c").write_text("int x;\n")
    elif change == "gone":
        (copied / "rows.c").unlink()
    else:
        file = copied / ("mask.h" if change == "header" else "loss.c")
        file.write_text(file.read_text() + "\n")
    assert kernels.load_library(copied) == (None, "stale")


def test_a_library_without_a_version_is_not_used(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    name = "_compiled.so" if LIBRARY is None else LIBRARY.name
    (tmp_path / "old.c").write_text("void semtune_norm(void) {}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(tmp_path / name), str(tmp_path / "old.c")], check=True)
    assert kernels.load_library(tmp_path) == (None, "stale")


def test_no_library_and_a_library_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMTUNE_KERNELS", raising=False)
    assert kernels.load_library(tmp_path) == (None, "missing")
    monkeypatch.setenv("SEMTUNE_KERNELS", "off")
    assert kernels.load_library(FOLDER) == (None, "off")


def test_doctor_says_that_a_library_is_stale(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from semtune.cli.doctor import doctor

    monkeypatch.setattr(kernels, "_LIBRARY", None)
    monkeypatch.setattr(kernels, "_STATE", "stale")
    assert doctor() == 0
    said = capsys.readouterr().out
    assert "not used, as they were built from other sources" in said and "pip install -e ." in said
