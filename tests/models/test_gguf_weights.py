"""GGUF converted piece by piece: the same tensors, config and tokenizer as transformers' own loading, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from semtune.errors import ModelError
from semtune.models import gguf_convert, gguf_weights, loading
from semtune.models.gguf_reader import Reader
from semtune.models.safetensors_stream import write_fp32
from semtune.models.sources.gguf import conversion_notes

from .gguf_files import CONFIGS, tiny_model, write_gguf

Kind = gguf.GGMLQuantizationType
TEXTS = ["ab a abba", "  two  spaces\n\nand lines", "naïve café 😀 123", "", "<eos> is text"]


def converted(file: Path, folder: Path) -> Path:
    folder.mkdir()
    gguf_convert.convert(file, folder)
    return folder


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_1])
@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_the_same_as_transformers(
    architecture: str, kind: gguf.GGMLQuantizationType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_weights, "_PIECE_NUMBERS", 64 * 24)  # tensors come in several pieces
    file = tmp_path / "tiny.gguf"
    model = tiny_model(architecture)
    write_gguf(file, architecture, model, kind)
    streamed = converted(file, tmp_path / "streamed")
    monkeypatch.setattr(gguf_convert, "LAYOUTS", {})
    loaded = converted(file, tmp_path / "loaded")
    notes = json.loads((loaded / gguf_convert.CONVERSION_FILE).read_text())["notes"]
    assert notes == [f'the architecture "{architecture}" has no tested streamed conversion from GGUF; '
                     "transformers converted it"]  # fmt: skip
    (loaded / gguf_convert.CONVERSION_FILE).unlink()
    assert sorted(f.name for f in streamed.iterdir()) == sorted(f.name for f in loaded.iterdir())
    for name in (f.name for f in streamed.iterdir()):
        assert (streamed / name).read_bytes() == (loaded / name).read_bytes(), name
    if kind == Kind.F32 and architecture != "gemma3":  # 1 + w is rounded
        weights = load_file(streamed / "model.safetensors")
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items() if name in weights)


def test_logits_of_a_loaded_gemma(tmp_path: Path) -> None:
    """Through the converting process and semtune's own forward, on texts longer than the local window."""
    file = tmp_path / "tiny.gguf"
    write_gguf(file, "gemma3", tiny_model("gemma3"), Kind.Q8_0)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float64).eval()
    loaded = loading.load(str(file), precision="fp64", device="cpu")
    assert loaded.notes == ("the weights were dequantised from a GGUF file",)
    texts = [[*range(4, 44)], [7, 100, 30], [*range(200, 219)]]
    ids, batch = loaded.pack(texts)
    with torch.no_grad():
        packed = loaded.logits(loaded.hidden_states(ids, batch))
        expected = torch.cat([oracle(torch.tensor([text])).logits[0] for text in texts])
    assert torch.allclose(packed[: len(expected)], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", ["gemma3", "qwen2"])
def test_the_tokenizer_of_a_loaded_file(architecture: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file, architecture, tiny_model(architecture), Kind.F32)
    oracle = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    reread = AutoTokenizer.from_pretrained(converted(file, tmp_path / "folder"))
    for text in TEXTS:
        assert reread(text)["input_ids"] == oracle(text)["input_ids"]
    assert (reread("ab")["input_ids"][0] == 2) is (architecture == "gemma3")  # BOS


def test_tensors_without_a_place_are_named(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file, "llama", tiny_model("llama"), Kind.F32, extra="vision.weight")
    notes = conversion_notes(converted(file, tmp_path / "folder"))
    assert notes == ("tensors of the GGUF file that are not used: vision.weight",)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize(("extra", "factor"), [("rope_freqs.weight", None), (None, 8.0)])
def test_scaled_rotary_positions_are_kept_or_refused(
    architecture: str, extra: str | None, factor: float | None, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file, architecture, tiny_model(architecture), Kind.F32, extra=extra, rope_factor=factor)
    try:
        folder = converted(file, tmp_path / "folder")
    except ModelError as error:
        assert "scales its rotary positions" in str(error)
    else:
        assert "8.0" in json.dumps(json.loads((folder / "config.json").read_text())["rope_parameters"])


def test_a_factor_of_one_scales_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file, "llama", tiny_model("llama"), Kind.F32, rope_factor=1.0)
    assert conversion_notes(converted(file, tmp_path / "folder")) == ()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("lacks", 'no tensor for "model.norm.weight"'),
        ("shape", r'"output_norm.weight" is \(32,\), not \(64,\)'),
        ("short", 'ends inside "'),
    ],
)
def test_a_file_that_does_not_fit_its_config(damage: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    model = tiny_model("llama")
    if damage == "shape":
        model.model.norm.weight = torch.nn.Parameter(torch.ones(32))
    if damage == "lacks":
        del model.model.norm.weight
    write_gguf(file, "llama", model, Kind.F32)
    weights: Any = None
    with pytest.raises(ModelError, match=said):
        weights = gguf_weights.GgufWeights(file, Reader(file), tiny_model("llama"))
        file.write_bytes(file.read_bytes()[:-50])
        for name in weights.shapes:
            list(weights.pieces(name))


def test_the_reader_of_headers(tmp_path: Path) -> None:
    """Against the library's own: every part of every field, and every tensor."""
    file = tmp_path / "tiny.gguf"
    write_gguf(file, "gemma3", tiny_model("gemma3"), Kind.Q8_0)
    ours, oracle = Reader(file), gguf.GGUFReader(file)
    assert [*ours.fields] == [*oracle.fields]
    for name, field in oracle.fields.items():
        found = ours.fields[name]
        assert (found.offset, found.data, found.types) == (field.offset, field.data, field.types)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found.parts, field.parts, strict=True))
    for found, tensor in zip(ours.tensors, oracle.tensors, strict=True):
        assert found[:2] == tensor[:2]
        assert found[3:6] == tensor[3:6]
        assert np.array_equal(found.data, tensor.data)


def test_written_as_the_library_writes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {"b": torch.randn(3, 5), "a.weight": torch.randn(7), 'ç"': torch.randn(2, 2, 2), "empty": torch.zeros(0)}
    save_file(tensors, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    write_fp32(
        tmp_path / "ours.safetensors",
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        lambda name: np.array_split(tensors[name].numpy(), 2),
    )
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    with pytest.raises(ValueError, match='"a" has 2 numbers, not 3'):
        write_fp32(tmp_path / "short.safetensors", {"a": (3,)}, lambda _: [np.zeros(2, np.float32)])
