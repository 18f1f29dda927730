"""The digests that tell a base model from another one of the same shape."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from semtune.models.fingerprint import SAMPLED_BYTES, fingerprint
from semtune.models.loading import load
from semtune.models.safetensors_stream import find_files

SaveModel = Callable[..., Path]


def digests(folder: Path) -> dict[str, str]:
    return fingerprint(folder, find_files(folder))


def changed(folder: Path, before: dict[str, str]) -> set[str]:
    return {part for part, digest in digests(folder).items() if digest != before[part]}


def test_a_copy_and_other_shards_are_the_same_model(model_folder: SaveModel, tmp_path: Path) -> None:
    folder = model_folder()
    before = digests(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert changed(tmp_path / "copy", before) == set()
    sharded = model_folder(name="sharded", max_shard_size="100KB")
    assert len(find_files(sharded)) > 1 and changed(sharded, before) == set()
    assert load(str(folder), device="cpu").identity.digests == before


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.self_attn.k_proj.weight", "lm_head.weight"])
def test_one_other_tensor_is_another_model(model_folder: SaveModel, name: str) -> None:
    folder = model_folder()
    before, file = digests(folder), folder / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, name: tensors[name] * 1.01}, file)
    assert changed(folder, before) == {"weights"}


def test_a_large_tensor_is_sampled_at_its_start_and_in_its_middle(model_folder: SaveModel) -> None:
    folder = model_folder()
    before, file = digests(folder), folder / "model.safetensors"
    tensors = load_file(file)
    weight = tensors["model.embed_tokens.weight"].view(-1)
    assert weight.numel() * 4 > 4 * SAMPLED_BYTES
    for index in (0, weight.numel() // 2):
        other = weight.clone()
        other[index] += 1
        save_file({**tensors, "model.embed_tokens.weight": other.view(-1, 64)}, file)
        assert changed(folder, before) == {"weights"}


def test_config_and_tokenizer_count_but_not_who_saved_them(model_folder: SaveModel) -> None:
    folder = model_folder()
    before, config = digests(folder), folder / "config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({**fields, "transformers_version": "0", "_name_or_path": "elsewhere"}, indent=7))
    assert changed(folder, before) == set()
    config.write_text(json.dumps({**fields, "rms_norm_eps": 0.1}))
    assert changed(folder, before) == {"config"}
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert changed(folder, before) == {"config", "tokenizer"}
