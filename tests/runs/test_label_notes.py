"""A run says which labels look alike, refuses those that its tokenizer changes, and records how it was scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, normalizers

from semtune.errors import OptionError
from semtune.records import TaskOptions
from semtune.runs.runner import run
from semtune.specs import spec_from

from .test_runner import Silent


class Saying(Silent):
    """An observer that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def table(folder: Path, *labels: str) -> Path:
    """A CSV of 40 texts that takes the labels in turn."""
    file = folder / "data.csv"
    rows = [f"text number {i},{labels[i % len(labels)]}" for i in range(40)]
    file.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return file


def run_of(model: Path, data: Path, out: Path, observer: Any, **changes: Any) -> Any:
    options = TaskOptions(data=str(data))
    values = {"task": "table", "model": str(model), "epochs": 1, "precision": "fp32", "threads": 1, "rank": 2}
    return run(spec_from({**values, "task_options": options, **changes}, "the test"), out, observer)


def test_near_equal_labels_are_named_before_and_after(tiny_model: Path, tmp_path: Path) -> None:
    observer = Saying()
    result = run_of(tiny_model, table(tmp_path, "good", "Good", "bad"), tmp_path / "run", observer)
    (said,) = observer.said
    assert '"Good" and "good" differ only in case' in said
    recorded = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert said in result.notes and said in recorded["notes"]
    assert "scikit-learn" in recorded["scores"]["test"]["definitions"]["macro_f1"]
    assert recorded["preset_changes"] == {
        "precision": {"preset": "auto", "run": "fp32"},
        "rank": {"preset": 16, "run": 2},
    }


def test_labels_that_the_models_tokenizer_changes_end_the_run_before_training(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lower"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.normalizer = normalizers.Lowercase()
    backend.save(str(folder / "tokenizer.json"))
    data = table(tmp_path, "Good", "bad")
    with pytest.raises(OptionError, match='"Good" comes back as "good"'):
        run_of(folder, data, tmp_path / "run", Saying(), readout="generate")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert run_of(folder, data, tmp_path / "other", Saying(), readout="loglikelihood").status == "ok"


@pytest.mark.parametrize("readout", ["generate", "generate-constrained", "loglikelihood"])
def test_labels_are_checked_before_weights_are_read(readout: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lower"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(b"" if file.suffix == ".safetensors" else file.read_bytes())
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.normalizer = normalizers.Lowercase()
    backend.save(str(folder / "tokenizer.json"))
    with pytest.raises(OptionError, match=r"comes back as|the same tokens"):
        run_of(folder, table(tmp_path, "Good", "good"), tmp_path / "run", Saying(), readout=readout)
    assert not (tmp_path / "run").exists()
