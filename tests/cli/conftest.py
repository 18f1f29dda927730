"""The command as a user runs it: a real process, a tiny model in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

Semtune = Callable[..., subprocess.CompletedProcess[str]]

REVIEWS = [
    ("the soup was warm and kind", "good"),
    ("a cold and bitter soup", "bad"),
    ("kind people and warm bread", "good"),
    ("bitter bread, cold people", "bad"),
]


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document of a command with --json: its last line of standard output."""
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer of its own, in transformers' format."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([text for text, _ in REVIEWS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(backend.get_vocab()),
        initializer_range=0.1,
        eos_token_id=0,
        bos_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A user's own table: 40 rows, one label each."""
    file = tmp_path / "reviews.csv"
    rows = [f'"{text}, {number}",{label}' for number in range(10) for text, label in REVIEWS]
    file.write_text("\n".join(["comment,mood", *rows]) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def semtune(tmp_path: Path) -> Semtune:
    """Runs `semtune ARGUMENTS` in its own process; its working folder is `tmp_path`."""

    def run(*arguments: object, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SEMTUNE_CACHE": str(tmp_path / "cache"), "COLUMNS": "100"}
        command = [sys.executable, "-m", "semtune", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        if check is not None:
            assert done.returncode == check, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    return run
