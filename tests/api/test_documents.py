"""The notebook and the examples of docs/python.md are executed as they stand, on a tiny model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semtune
from semtune.sklearn import TunedTextClassifier

from ..conftest import REPOSITORY
from .test_plan_and_study import Inventing

NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"
PYTHON_MD = REPOSITORY / "docs" / "python.md"


def code_cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def execute(codes: list[str], name: str) -> dict[str, Any]:
    """Run pieces of code one after the other in one namespace, as a notebook does."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(codes, start=1):
        exec(compile(code, f"{name}, piece {number}", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bars, a cache and a working folder of the test's own, and one thread, which suits a tiny model best."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEMTUNE_NO_PROGRESS", "1")
    monkeypatch.setattr("semtune.approaches.base_model.default_threads", lambda: 1)
    monkeypatch.setattr("semtune.measure.machine.cores", lambda: 1)


def test_the_notebook_runs(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_NOTEBOOK_MODEL", str(tiny_model))
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    found = execute(["".join(cell["source"]) for cell in code_cells(notebook)], NOTEBOOK.name)
    assert found["run"].result.status == "ok"


def test_the_notebook_was_executed_from_top_to_bottom() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = list(code_cells(notebook))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert all(output["output_type"] != "error" for output in outputs)


def test_the_examples_run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (semtune.tune, TunedTextClassifier.__init__, semtune.api.plan):
        defaults = tuple(str(tiny_model) if d == "default" else d for d in function.__defaults__ or ())
        monkeypatch.setattr(function, "__defaults__", defaults)
    monkeypatch.setitem(semtune.tune.__kwdefaults__, "model", str(tiny_model))
    monkeypatch.setattr("semtune.study.launchers.process.ProcessLauncher", Inventing)
    Inventing.asked = []
    blocks = re.findall(r"```python\n(.*?)```", PYTHON_MD.read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = [block.replace('semtune.plan("default"', "semtune.plan(MODEL") for block in blocks]
    found = execute([f"MODEL = {str(tiny_model)!r}", *blocks], PYTHON_MD.name)
    assert found["run"].result.status == "ok"
    assert len(Inventing.asked) == 4
    assert found["search"].best_estimator_.run_.spec.model == str(tiny_model)
