"""What the machine is said to be."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from semtune.measure import machine
from semtune.measure.clock import Stopwatch, synchronised_seconds
from semtune.measure.environment import environment
from semtune.runtime.processor import cpu_flags


def test_measuring_imports_no_torch() -> None:
    code = (
        "import sys, semtune.measure.memory, semtune.measure.clock, semtune.measure.machine, "
        "semtune.measure.environment, semtune.runtime.limits; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_doctor_and_environment_are_plain_json() -> None:
    doctor = json.loads(json.dumps(machine.doctor()))
    assert doctor["cores"] >= 1
    assert 0 < doctor["available_memory_bytes"] <= doctor["total_memory_bytes"] <= psutil.virtual_memory().total
    assert doctor["packages"]["torch"]
    assert doctor["packages"]["semtune"]
    assert isinstance(doctor["native_bf16"], bool)


def test_the_environment_names_no_host_no_user_and_no_folder() -> None:
    text = json.dumps(environment())
    assert str(Path.home()) not in text
    assert sys.prefix not in text
    for name in (socket.gethostname(), getpass.getuser()):
        assert f'"{name}"' not in text


def test_memory_limit_of_a_version_2_group(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/outer/inner\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000\n")
    (inner.parent / "memory.max").write_text("9000\n")
    (inner.parent / "memory.current").write_text("4000\n")
    (inner.parent / "memory.stat").write_text("anon 2500\ninactive_file 1500\n")
    assert machine.cgroup_memory(tmp_path, tmp_path / "membership") == (9000, 2500)


def test_memory_limit_of_a_version_1_group(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "job"
    group.mkdir(parents=True)
    (tmp_path / "membership").write_text("5:cpu,cpuacct:/job\n4:memory:/job\n")
    (group / "memory.limit_in_bytes").write_text("8000\n")
    (group / "memory.usage_in_bytes").write_text("3000\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.cgroup_memory(tmp_path, tmp_path / "membership") == (8000, 3000)


def test_no_control_groups(tmp_path: Path) -> None:
    assert machine.cgroup_memory(tmp_path, tmp_path / "nothing") == (None, 0)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 sse\n", {"fpu", "avx512_bf16", "sse"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("", set()),
    ],
)
def test_cpu_flags(tmp_path: Path, text: str, flags: set[str]) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert cpu_flags(file) == flags
    assert cpu_flags(tmp_path / "missing") == frozenset()


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    before = synchronised_seconds()
    for _ in range(2):
        with watch:
            sum(range(10_000))
    assert 0 < watch.last_seconds < watch.seconds <= synchronised_seconds() - before
    with pytest.raises(ValueError, match="no"), watch:
        raise ValueError("no")
    with watch, pytest.raises(RuntimeError, match="already running"), watch:
        pass


@pytest.mark.parametrize(
    ("given", "threads"),
    [("1", 1), ("2,1", 2), (" 3 ", 3), ("99", 4), (None, 4), ("", 4), ("0", 4), ("-2", 4), ("all", 4)],
)
def test_threads_are_those_of_the_environment_or_all(
    given: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert machine.default_threads() == threads
