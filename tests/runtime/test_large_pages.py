"""When the command line starts itself again, so that its memory lies in large pages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from semtune.runtime.large_pages import COMMANDS, TUNABLE, VARIABLE, wanted

MADVISE, GLIBC = "always [madvise] never", "glibc 2.36"


def test_where_the_kernel_gives_them_on_request() -> None:
    assert all(wanted([command, "--json"], {}, mode=MADVISE, libc=GLIBC) for command in COMMANDS)
    assert wanted(["tune"], {VARIABLE: "glibc.malloc.check=1"}, mode=MADVISE, libc="glibc 2.41")


@pytest.mark.parametrize(
    ("arguments", "environment", "mode", "libc"),
    [
        ([], {}, MADVISE, GLIBC),
        (["list"], {}, MADVISE, GLIBC),
        (["--help", "tune"], {}, MADVISE, GLIBC),
        (["tune"], {VARIABLE: f"{TUNABLE}=0"}, MADVISE, GLIBC),
        (["tune"], {}, "[always] madvise never", GLIBC),
        (["tune"], {}, "always madvise [never]", GLIBC),
        (["tune"], {}, "", GLIBC),
        (["tune"], {}, MADVISE, "glibc 2.31"),
        (["tune"], {}, MADVISE, ""),
        (["tune"], {}, MADVISE, "musl 1.2.5"),
    ],
)
def test_not_elsewhere(arguments: list[str], environment: dict[str, str], mode: str, libc: str) -> None:
    assert not wanted(arguments, environment, mode=mode, libc=libc)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
@pytest.mark.parametrize("own", [True, False])
def test_the_same_process_once(own: bool) -> None:
    """And not one whose own arguments are others, such as a program that runs the command within itself."""
    program = (
        "import os, sys\n"
        "from semtune.runtime import large_pages\n"
        f"large_pages._read = lambda file: {MADVISE!r}\n"
        f"large_pages._libc = lambda: {GLIBC!r}\n"
        "print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), flush=True)\n"
        f"large_pages.restart_with_large_pages({'sys.argv[1:]' if own else repr(['tune', 'c'])})\n"
        "print(sys.argv[1:])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    printed = subprocess.run(
        [sys.executable, "-c", program, "tune", "a b"], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if not own:
        assert printed[1:] == ["['tune', 'a b']"]
        return
    first, second = (line.split(" ", 1) for line in printed[:2])
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("None", f"{TUNABLE}=1")
    assert printed[2:] == ["['tune', 'a b']"]
