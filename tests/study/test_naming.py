"""Names of run folders: no two runs share one, on whatever file system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from semtune.records import RunSpec
from semtune.runs.folder import RunFolder
from semtune.runs.identity import same_run, spec_fingerprint
from semtune.specs import resolve, write_spec
from semtune.study.grid import study_from
from semtune.study.naming import chosen_folder, slug


@pytest.mark.parametrize(
    "models",
    [
        ["my_model", "my-model", "my model"],
        ["/models/模型甲", "/models/模型乙"],
        ["./Tiny", "./tiny"],
        ["a/b", "a-b", "a/b/", "a--b"],
        ["x" * 300, "x" * 301],
        ["модель", "model"],
    ],
)
def test_every_run_has_a_folder_of_its_own(models: list[str]) -> None:
    study = study_from({"task": "practice", "models": models, "methods": ["lora", "full"], "seeds": [0, 1]}, "it")
    names = list(study.runs())
    assert len({name.casefold() for name in names}) == len(models) * 4
    assert all(len(name.encode()) < 200 and name.isascii() and "/" not in name for name in names)
    assert list(study.runs()) == names, "the same ones in the next call"


def test_plain_names_are_as_they_were() -> None:
    one = study_from({"task": "practice", "methods": ["lora"]}, "it")
    assert list(one.runs()) == ["lora-head-report-s0"]
    two = study_from({"task": "practice", "models": ["default", "tiny.gguf"], "methods": ["lora"]}, "it")
    assert list(two.runs()) == ["default-lora-head-report-s0", "tiny.gguf-lora-head-report-s0"]


@pytest.mark.parametrize("text", ["CON", "baselines", "data", "a:b", "..", "", "ends.", "模型"])
def test_slugs_are_safe(text: str) -> None:
    name = slug(text)
    assert name and name != text
    assert name.isascii() and name[-1] not in ".-" and name.lower() not in ("con", "baselines", "data")


def leave_run(folder: Path, spec: RunSpec, *, trained: bool) -> None:
    folder.mkdir(parents=True)
    write_spec(spec, folder / "spec.yaml")
    (folder / "result.json").write_text("{}")
    if trained:
        RunFolder(folder).adapter.mkdir()


def test_a_trained_run_of_another_spec_keeps_its_folder(tmp_path: Path) -> None:
    old, new = (resolve(RunSpec("practice", epochs=epochs)) for epochs in (1, 2))
    leave_run(tmp_path / "run", old, trained=True)
    assert chosen_folder(old, tmp_path, "run", "run", []) == tmp_path / "run"
    beside = chosen_folder(new, tmp_path, "run", "run", [])
    assert beside.name.startswith("run-")
    leave_run(beside, new, trained=True)
    assert chosen_folder(new, tmp_path, "run", "run", []) == beside
    assert chosen_folder(old, tmp_path, "run", "run", []) == tmp_path / "run"


def test_a_run_that_left_nothing_gives_its_folder(tmp_path: Path) -> None:
    old, new = (resolve(RunSpec("practice", epochs=epochs)) for epochs in (1, 2))
    leave_run(tmp_path / "run", old, trained=False)
    assert chosen_folder(new, tmp_path, "run", "run", []) == tmp_path / "run"
    assert chosen_folder(new, tmp_path, "run", "run", [tmp_path / "RUN"]) != tmp_path / "run"


def test_a_run_under_its_former_name_is_found(tmp_path: Path) -> None:
    spec = resolve(RunSpec("practice"))
    leave_run(tmp_path / "my-model-run", spec, trained=True)
    assert chosen_folder(spec, tmp_path, "my-model-1a2b3c-run", "my-model-run", []) == tmp_path / "my-model-run"


def test_a_run_is_the_same_one_however_its_model_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    here, there = (resolve(RunSpec("practice", model=model)) for model in ("tiny", str(tmp_path / "tiny")))
    assert same_run(here, there) and spec_fingerprint(here) == spec_fingerprint(there)
    assert same_run(here, replace(here, trust_remote_code=True, allow_overlap=True))
    assert not same_run(here, replace(here, seed=1))
