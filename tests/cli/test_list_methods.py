"""`semtune list methods`: trainable share, base, merging and paper of every method, from outside semtune too."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from semtune.registry import METHODS

from ..conftest import REPOSITORY
from .conftest import Semtune, last_json

BROKEN = """
from semtune.registry import METHODS


class Broken:
    name = "broken"

    class Settings:
        pass


METHODS.register("broken", Broken(), "a method that lacks most of the contract")
"""


def test_every_method_has_all_that_is_listed(semtune: Semtune) -> None:
    rows = {row["name"]: row for row in last_json(semtune("list", "methods", "--json"))}
    assert set(METHODS) <= set(rows)
    for name in METHODS:
        row, paper = rows[name], METHODS.paper(name)
        assert row["model"] == "shape:smollm2-135m" and row["preset"] == "default"
        assert row["trainable_share"] == row["trainable_parameters"] / row["total_parameters"]
        assert {"fp32", "bf16", "nf4", "nf4-cached", "int4"} <= set(row["bases"])
        if paper is None:
            assert row["paper"] is None and name == "full"  # the one that nobody has proposed
        else:
            assert row["paper"] == {"cited": paper.cited, "arxiv": paper.arxiv, "url": paper.url}
            assert re.fullmatch(r"\d{4}\.\d{5}", paper.arxiv) or (not paper.arxiv and paper.url.startswith("https://"))
    assert [p for p, base in rows["qa-lora"]["bases"].items() if base["refusal"] is None] == ["int4"]
    assert rows["qa-lora"]["bases"]["int4"]["merged_precision"] == "int4"
    assert "quantise again" in rows["qlora"]["bases"]["nf4"]["merge_refusal"]
    assert "nonlinear" in rows["houlsby"]["bases"]["fp32"]["merge_refusal"]


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_fits_the_terminal(columns: int, semtune: Semtune, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = semtune("list", "methods", columns=columns).stdout
    lines = printed.splitlines()
    assert max(map(len, lines)) <= columns and "…" not in printed
    cells = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in lines[2:] if line[:1].strip()}
    assert cells["full"][1:4] == ["100%", "fp32, bf16", "in place"]
    assert cells["lora"][1:4] == ["3.5%", "any", "not nf4, int4"]
    assert cells["qlora"][1:4] == ["3.5%", "nf4; any", "not nf4, int4"]
    assert cells["qa-lora"][1:4] == ["1.87%", "int4", "yes, stays int4"]
    assert cells["prefix"][1:4] == ["0.256%", "any", "no"]
    assert cells["linear-probe"][1:4] == ["readout", "any", "in place"]
    assert "shape" not in cells["full"] and "smollm2-135m, preset default" in printed
    assert ("Hu et al. 2021, arXiv:2106.09685" in printed) == (columns > 100)
    assert "arXiv:2106.09685" in printed


def test_methods_from_outside_without_a_paper_are_listed(semtune: Semtune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_PLUGINS", "tests.openness.plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    rows = {row["name"]: row for row in last_json(semtune("list", "methods", "--json"))}
    branch, prefix = rows["parallel-branch"], rows["learned-prefix"]
    assert branch["paper"] is None and branch["summary"].startswith("a branch beside")
    # 30 blocks: a branch of 2·576·4 and a bias of 576; keys and values of 3 positions, 3 kv heads of 64.
    assert branch["trainable_parameters"] == 30 * (2 * 576 * 4 + 576)
    assert prefix["trainable_parameters"] == 30 * 2 * 3 * 3 * 64
    assert {base["merge"] for base in prefix["bases"].values()} == {"refused"}
    assert "rowwise-int8" in prefix["bases"]
    printed = semtune("list", "methods").stdout
    assert re.search(r"^parallel-branch +0\.\d+% +any +no +a branch beside", printed, re.MULTILINE)


def test_a_method_that_cannot_be_attached_is_listed(
    semtune: Semtune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.setenv("SEMTUNE_PLUGINS", "broken_plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    done = semtune("list", "methods")
    assert re.search(r"^broken +– +– +– +a method that lacks", done.stdout, re.MULTILINE)
    assert "broken could not be attached" in done.stderr and "Traceback" not in done.stderr


def test_papers_of_optimizers_are_listed(semtune: Semtune) -> None:
    rows = {row["name"]: row for row in last_json(semtune("list", "optimizers", "--json"))}
    assert rows["mezo"]["paper"]["arxiv"] == "2305.17333"
    assert all("paper" in row for row in rows.values())
    assert "(Malladi et al. 2023, arXiv:2305.17333)" in semtune("list", "optimizers", "--options").stdout
