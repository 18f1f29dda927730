"""What is shipped about every method is what attaching and merging it on fake tensors finds."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import pytest

from semtune.methods.probe import probe
from semtune.methods.properties import MethodProperties, shipped
from semtune.records import to_plain
from semtune.registry import METHODS

from ..conftest import REPOSITORY

BUILT_IN = [name for name in METHODS if METHODS.is_built_in(name)]
FILE = REPOSITORY / "src" / "semtune" / "methods" / "properties.json"
WRITE = "SEMTUNE_WRITE_PROPERTIES"


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_properties_are_those_that_probing_finds(name: str) -> None:
    found = probe(name)
    if os.environ.get(WRITE):
        written = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        written[name] = to_plain(found)
        ordered = {method: written[method] for method in BUILT_IN if method in written}
        FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shipped.cache_clear()
    assert shipped()[name] == found, f"write {FILE.name} anew: {WRITE}=1 pytest {Path(__file__).name}"


def test_every_method_is_shipped_and_no_other() -> None:
    assert list(shipped()) == BUILT_IN
    assert (resources.files("semtune.methods") / "properties.json").is_file()


def test_counts_are_those_of_the_papers() -> None:
    """By hand, for a decoder of 30 blocks, hidden 576, MLP 1536, 9 heads and 3 key-value heads of 64, 49152 tokens."""
    hidden, mlp, kv, layers = 576, 1536, 192, 30
    linears = [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), *[(hidden, mlp)] * 2, (mlp, hidden)]
    weights = layers * (sum(a * b for a, b in linears) + 2 * hidden) + hidden + 49152 * hidden
    low_rank, outputs = 16 * layers * sum(a + b for a, b in linears), layers * sum(b for _, b in linears)
    expected = {
        "full": weights,
        "lora": low_rank,
        "qlora": low_rank,
        "dora": low_rank + outputs,  # a magnitude for each row
        "qa-lora": 16 * layers * sum(a // 32 + b for a, b in linears),
        "bitfit": outputs,
        "ia3": layers * (2 * kv + mlp),
        "ln-tuning": layers * 2 * hidden + hidden,
        "last-layers": 4 * (sum(a * b for a, b in linears) + 2 * hidden) + hidden,
        "linear-probe": 0,
        "pfeiffer": layers * (2 * hidden * 36 + 36 + hidden),
        "houlsby": 2 * layers * (2 * hidden * 36 + 36 + hidden),
        "prefix": layers * 30 * 2 * kv,
    }
    found = shipped()
    assert {name: found[name].trainable_parameters for name in expected} == expected
    in_place = {"full", "ln-tuning", "last-layers", "linear-probe"}
    for name, properties in found.items():
        added = 0 if name in in_place else properties.trainable_parameters
        assert properties.total_parameters == weights + added, name


@pytest.mark.parametrize("name", BUILT_IN)
def test_refusals_are_the_methods_own(name: str) -> None:
    method, found = METHODS.get(name), shipped()[name]
    accepted = {p: base for p, base in found.bases.items() if base.refusal is None}
    assert found.precision == "auto" or found.precision in accepted
    for base in found.bases.values():
        assert (base.merge == "refused") == (base.merge_refusal is not None or base.refusal is not None)
    if hasattr(method, "merge_refusal"):
        assert {base.merge_refusal for base in accepted.values()} == {method.merge_refusal}
    else:
        assert any(base.merge != "refused" for base in accepted.values())


def test_a_record_survives_its_plain_form() -> None:
    for properties in shipped().values():
        assert MethodProperties.from_plain(json.loads(json.dumps(to_plain(properties)))) == properties
