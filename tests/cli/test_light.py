"""Help, lists and complaints must come at once: nothing heavy may be imported for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from semtune.cli.list import KINDS

from .conftest import Semtune, last_json

HEAVY = ("torch", "transformers", "numpy", "pandas", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["tune", "--help"],
        ["study", "--help"],
        ["list", "methods"],
        ["list", "architectures"],
        ["tune", "--task", "nope", "--out", "x"],
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom semtune.cli import main\n"
        f"sys.argv = ['semtune', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "heavy: []" in done.stderr, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_lists_come_from_the_registries(semtune: Semtune, kind: str) -> None:
    names = [entry["name"] for entry in last_json(semtune("list", kind, "--json"))]
    assert set(KINDS[kind]) <= set(names)
    printed = semtune("list", kind).stdout
    assert all(name in printed for name in names)


def test_every_causal_architecture_is_listed_as_right_or_refused_with_the_reason(semtune: Semtune) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    listed = {e["name"]: e["summary"] for e in last_json(semtune("list", "architectures", "--json"))}
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= set(listed)
    assert all(summary.startswith(("right", "refused: it ")) for summary in listed.values())
    assert listed["llama"].startswith("right: fused blocks")
    assert "carries a state" in listed["mamba"]


def test_every_registered_object_is_there() -> None:
    for registry in KINDS.values():
        for name in registry:
            assert registry.get(name) is not None
            assert registry.summary(name)


def test_doctor(semtune: Semtune) -> None:
    found = last_json(semtune("doctor", "--json"))
    assert found["cores"] >= 1
    assert found["packages"]["torch"]
    assert "native_bf16" in found
    assert "memory" in semtune("doctor").stdout
