"""Tiny tokenizers and models, made here: no network, no downloads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from semtune.models.sources.pypi import WHEEL_MODELS

TEXTS = [
    "the quick brown fox says <tech:> Smears",
    "naïve café — Obfuscation, Intentional vagueness",
    "a\nb  c 123",
] * 3
SPECIALS = ["<unk>", "<s>", "</s>"]


def byte_level_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2's kind, with a BOS in front and an EOS behind where `bos`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    return _wrap(backend, bos)


def sentence_piece_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """Llama-2's kind: "▁" for spaces, one put in front of every text, bytes as a fallback."""
    pieces = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *"abcdefghijklmnopqrstuvwxyzS<>:"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "a"), ("▁", "▁")]
    pieces += ["th", "the", "▁the", "▁a", "▁▁"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(SPECIALS)
    return _wrap(backend, bos)


def _wrap(backend: Tokenizer, bos: bool) -> PreTrainedTokenizerFast:
    if bos:  # some tokenizers close a text too; the tokenizer must leave that out
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEMTUNE_CACHE", str(folder))
    monkeypatch.delenv("SEMTUNE_WHEELS", raising=False)
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """Saves a tiny random model with tokenizer and gives its folder."""

    def save(kind: str = "llama", *, tied: bool = False, name: str = "tiny", **save_options: Any) -> Path:
        torch.manual_seed(0)
        config_class = {"llama": LlamaConfig, "qwen2": Qwen2Config}[kind]
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = config_class(
            **sizes, num_key_value_heads=2, vocab_size=330, tie_word_embeddings=tied, initializer_range=0.2
        )
        model = AutoModelForCausalLM.from_config(config)
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        folder = tmp_path / name
        model.save_pretrained(folder, **save_options)
        byte_level_tokenizer().save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The default model's wheel, where $SEMTUNE_TEST_WHEELS names a folder that holds it."""
    pinned = WHEEL_MODELS["smollm2-135m-instruct"].members[0].wheel
    file = Path(os.environ.get("SEMTUNE_TEST_WHEELS", ".")) / pinned.file
    if not file.is_file():
        pytest.skip(f"set SEMTUNE_TEST_WHEELS to a folder that holds {pinned.file}")
    with file.open("rb") as handle:
        assert hashlib.file_digest(handle, "sha256").hexdigest() == pinned.sha256
    return file
