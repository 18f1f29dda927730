"""Trust in a model's own code stands on the command line of the very call; files cannot give it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import semtune as api
from semtune.errors import ModelError, OptionError
from semtune.records import RunSpec
from semtune.specs import read_spec, spec_from, write_spec
from semtune.study.launchers.process import ProcessLauncher

from .conftest import Semtune, last_json
from .test_bad_input import refuse

CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

Path({marker!r}).touch()


class StrangeConfig(LlamaConfig):
    model_type = "strange"


class StrangeForCausalLM(LlamaForCausalLM):
    config_class = StrangeConfig
"""


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Exists once the model's code has run."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))  # transformers copies the code there
    return tmp_path / "the code has run"


@pytest.fixture
def strange(tiny_model: Path, tmp_path: Path, marker: Path) -> Path:
    """A model of a type that only its own Python code knows."""
    folder = tmp_path / "strange"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "strange.StrangeConfig", "AutoModelForCausalLM": "strange.StrangeForCausalLM"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "strange", "auto_map": auto_map}))
    (folder / "strange.py").write_text(CODE.format(marker=str(marker)))
    return folder


def spec_file(model: Path, reviews: Path, path: Path) -> Path:
    """A spec as an earlier version wrote it, or somebody else: it says that the code may run."""
    options = {"data": str(reviews), "text_column": "comment", "label_column": "mood"}
    values = {"task": "table", "task_options": options, "model": str(model), "epochs": 1, "precision": "fp32"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**values, "threads": 1, "trust_remote_code": True}))
    return path


def test_a_run_folder_cannot_give_it(
    semtune: Semtune, strange: Path, reviews: Path, marker: Path, tmp_path: Path
) -> None:
    """A folder made by hand. Given on the command line, the code runs (and the empty adapter is the next fault)."""
    run = tmp_path / "run"
    spec_file(strange, reviews, run / "spec.yaml")
    (run / "adapter").mkdir()
    (run / "labels.json").write_text(json.dumps({"answer": "single_label", "labels": ["good", "bad"]}))
    assert "--trust-remote-code" in refuse(semtune, "predict", run, "warm bread")
    with pytest.raises(ModelError, match="--trust-remote-code"):
        api.load(run, progress=False).predict("warm bread")
    assert not marker.exists()
    assert "adapter" in refuse(semtune, "predict", run, "warm bread", "--trust-remote-code")
    assert marker.exists()


def test_a_spec_cannot_give_it_and_the_flag_beside_it_can(
    semtune: Semtune, strange: Path, reviews: Path, marker: Path, tmp_path: Path
) -> None:
    spec = spec_file(strange, reviews, tmp_path / "mine.yaml")
    assert "--trust-remote-code" in refuse(semtune, "tune", "--spec", spec, "--out", "run")
    assert not marker.exists()
    done = semtune("tune", "--spec", spec, "--out", "run", "--trust-remote-code", "--json")
    assert last_json(done)["status"] == "ok"
    assert marker.exists()
    assert "trust" not in (tmp_path / "run" / "spec.yaml").read_text()


@pytest.mark.parametrize("values", [{"trust_remote_code": True}, {"overrides": {"lora": {"trust_remote_code": True}}}])
def test_a_study_file_cannot_give_it(values: dict[str, Any], semtune: Semtune, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"task": "practice", "methods": ["lora"], **values}))
    said = refuse(semtune, "study", file, "--out", "study")
    assert "trust is not read from files" in said
    assert "--trust-remote-code" in said
    with pytest.raises(OptionError, match="not read from files"):
        api.study(file, out=tmp_path / "other", progress=False)
    assert not (tmp_path / "study").exists()


def test_it_is_in_no_file_and_two_specs_that_differ_in_it_are_the_same_run(tmp_path: Path) -> None:
    trusting = spec_from({"task": "practice", "trust_remote_code": True}, "the test")
    assert trusting.trust_remote_code
    write_spec(trusting, tmp_path / "spec.yaml")
    assert "trust" not in (tmp_path / "spec.yaml").read_text()
    again = read_spec(tmp_path / "spec.yaml")
    assert not again.trust_remote_code
    assert again == trusting
    assert again != RunSpec("table")


@pytest.mark.parametrize("trust", [False, True])
def test_children_of_a_study_get_it_on_their_own_command_line(
    trust: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Started:
        def __init__(self, command: list[str], **_: object) -> None:
            commands.append(command)

    monkeypatch.setattr("subprocess.Popen", Started)
    child = ProcessLauncher(1).submit(RunSpec("practice", trust_remote_code=trust), tmp_path / "run")
    child.output.close()
    child.temporary.cleanup()
    assert ("--trust-remote-code" in commands[0]) == trust
    assert commands[0][1:4] == ["-P", "-m", "semtune"]
