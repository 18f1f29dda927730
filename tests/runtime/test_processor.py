"""Levels of instructions: what the processor has, and SEMTUNE_ISA."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from semtune.errors import OptionError
from semtune.runtime import processor
from semtune.runtime.processor import cpu_flags, isa_limit, let_idle_threads_sleep, limit_libraries, usable_levels

AVX2 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_bf16"}


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "usable_levels", usable_levels.__wrapped__)
    monkeypatch.delenv("SEMTUNE_ISA", raising=False)


@pytest.mark.parametrize(
    ("flags", "limit", "levels"),
    [
        (set(), None, ("base",)),
        (AVX2, None, ("base", "avx2")),
        (AVX2 - {"fma"}, None, ("base",)),
        (AVX512, None, ("base",)),  # a level needs those below it
        (AVX2 | AVX512, None, ("base", "avx2", "avx512")),
        (AVX2 | AVX512, "avx2", ("base", "avx2")),
        (AVX2 | AVX512, "BASE", ("base",)),
        (AVX2, "avx512", ("base", "avx2")),  # a limit adds nothing
    ],
)
def test_levels(monkeypatch: pytest.MonkeyPatch, flags: set[str], limit: str | None, levels: tuple[str, ...]) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset(flags))
    if limit is not None:
        monkeypatch.setenv("SEMTUNE_ISA", limit)
    assert processor.usable_levels() == levels


def test_a_limit_switches_native_bf16_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset(AVX2 | AVX512))
    native = processor.native_bf16.__wrapped__
    assert native("cpu")
    monkeypatch.setenv("SEMTUNE_ISA", "avx512")
    assert not native("cpu")


def test_the_limit_is_handed_on_to_the_libraries_but_overrides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    limit_libraries(environment)
    assert environment == {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    monkeypatch.setenv("SEMTUNE_ISA", "avx2")
    limit_libraries(environment)
    expected = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    assert environment == expected


def test_an_unknown_level_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_ISA", "avx3")
    with pytest.raises(OptionError, match="write one of base, avx2, avx512"):
        isa_limit()
    environment = {**os.environ, "SEMTUNE_ISA": "avx3"}
    done = subprocess.run(
        [sys.executable, "-m", "semtune", "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "avx3" in done.stderr


def test_doctor_names_the_forced_level() -> None:
    """In a process of its own, because torch reads its limits on import."""
    code = (
        "import sys; sys.argv[1:] = ['doctor', '--json']; from semtune.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "import torch; from semtune.nn import kernels\n"
        "print(torch.backends.cpu.get_cpu_capability(), kernels._LEVEL)"
    )
    environment = {**os.environ, "SEMTUNE_ISA": "base"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert '"instructions": "base"' in done.stdout
    assert done.stdout.split()[-2:] == ["DEFAULT", "base"]


def test_this_machine_has_the_level_that_it_says() -> None:
    levels = usable_levels.__wrapped__()
    assert levels == processor.LEVELS[: len(levels)]
    assert ("avx2" in levels) == (cpu_flags() >= AVX2)


@pytest.mark.parametrize("native", [False, True])
def test_idle_threads_sleep_where_bf16_is_not_native(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.runtime.processor.native_bf16", lambda device_type="cpu": native)
    environment: dict[str, str] = {}
    let_idle_threads_sleep(environment)
    ours = {"GOMP_SPINCOUNT": "10000"} if sys.platform == "linux" else {"OMP_WAIT_POLICY": "PASSIVE"}
    assert environment == ({} if native else ours)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_says_of_threads_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semtune.runtime.processor.native_bf16", lambda device_type="cpu": False)
    environment = {name: "7"}
    let_idle_threads_sleep(environment)
    assert environment == {name: "7"}
