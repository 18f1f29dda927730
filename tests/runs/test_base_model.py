"""Which base model a run belongs to: recognised when it predicts again, whatever happened to the name meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM

from semtune.errors import ModelError
from semtune.records import Example, RunSpec, TaskOptions
from semtune.runs.load import load_run
from semtune.runs.runner import run
from semtune.specs import read_spec, resolve, spec_from, with_absolute_paths

from .test_runner import Silent

TEXTS = [Example("0", "warm bread", None)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def spec_for(reviews: Path) -> MakeSpec:
    def make(model: str, **changes: Any) -> RunSpec:
        options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
        plain = {"model": model, "epochs": 1, "precision": "fp32", "task_options": options, "device": "cpu"}
        return spec_from({"task": "table", **plain, **changes}, "the test")

    return make


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may replace."""
    return shutil.copytree(tiny_model, tmp_path / "models" / "tiny")


def replace_weights(folder: Path) -> None:
    """Another random model of the same shape."""
    other = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(7)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    other.save_pretrained(folder)


@pytest.mark.parametrize("approach", [{"method": "lora"}, {"approach": "prompted", "strategy": "zero-shot"}])
def test_a_base_that_was_replaced_is_noticed(
    spec_for: MakeSpec, model: Path, tmp_path: Path, approach: dict[str, str]
) -> None:
    out = tmp_path / "run"
    assert run(spec_for(str(model), **approach), out, Silent()).status == "ok"
    answers = load_run(out).predict(TEXTS)
    shutil.copytree(model, tmp_path / "former")
    replace_weights(model)
    with pytest.raises(ModelError, match=r"tiny is not the one that this run was made with: its weights differ"):
        load_run(out)
    shutil.rmtree(model)
    shutil.copytree(tmp_path / "former", model)
    assert load_run(out).predict(TEXTS) == answers


def test_a_run_that_trained_every_weight_needs_none_of_the_base(
    spec_for: MakeSpec, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(spec_for(str(model), method="full"), out, Silent())
    answers = load_run(out).predict(TEXTS)
    replace_weights(model)
    assert load_run(out).predict(TEXTS) == answers
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rms_norm_eps": 0.5}))
    with pytest.raises(ModelError, match="its config differ"):
        load_run(out)


def test_a_relative_path_means_the_same_folder_from_everywhere(
    spec_for: MakeSpec, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, out = spec_for("models/tiny"), tmp_path / "run"
    run(spec, out, Silent())
    stored = read_spec(out / "spec.yaml")
    assert stored.model == str(model)
    assert resolve(stored) == with_absolute_paths(resolve(spec))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where "models/tiny" would be a hub id
    assert len(load_run(out).predict(TEXTS)) == 1


@pytest.mark.parametrize("name", ["default", "shape:smollm2-135m", "pypi:smollm2-135m-instruct", "owner/name"])
def test_other_names_stay_as_they_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("default", "shape:smollm2-135m"):
        (tmp_path / folder).mkdir()
    assert with_absolute_paths(RunSpec("practice", model=name)).model == name


def test_a_hub_models_commit_is_recorded_and_used_again(
    spec_for: MakeSpec, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = shutil.copytree(model, tmp_path / "hub" / "snapshots" / COMMIT)
    asked: list[str | None] = []

    def download(name: str, *, revision: str | None = None, **_: Any) -> str:
        asked.append(revision)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    out = tmp_path / "run"
    run(spec_for("owner/name", revision="main"), out, Silent())
    assert set(asked) == {"main"}
    assert json.loads((out / "adapter" / "base_model.json").read_text())["revision"] == COMMIT
    asked.clear()
    load_run(out)
    assert set(asked) == {COMMIT}


def test_only_hub_models_have_revisions(spec_for: MakeSpec, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'is no model on the hub, so it has no revision "v1"'):
        run(spec_for(str(model), revision="v1"), tmp_path / "run", Silent())
