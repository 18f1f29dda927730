"""An architecture is checked before weights are read, once, and refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GraniteConfig

from semtune.contracts import ReadoutSettings, SourceOptions
from semtune.errors import ModelError, TargetError
from semtune.methods.lora import LORA
from semtune.models import self_check
from semtune.models.architectures import install
from semtune.models.class_logits import is_plain
from semtune.models.loaded import TransformersModel
from semtune.models.loading import load
from semtune.models.locate import locate, locate_config
from semtune.models.supported import refusal
from semtune.prompts.report import ReportPrompt
from semtune.readouts.head import Head
from semtune.records import Example, LowRankSettings, TargetSpace

from .conftest import byte_level_tokenizer

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 80, "bos_token_id": 1}


def folder_of(tmp_path: Path, kind: str, **fields: Any) -> Path:
    """config.json alone: whoever reads weights or tokenizer first complains about those."""
    AutoConfig.for_model(kind, **fields).save_pretrained(tmp_path / kind)
    return tmp_path / kind


@pytest.mark.parametrize("kind", ["falcon", "mamba", "gemma2", "gpt_oss", "bloom", "jamba", "bart"])
def test_a_wrong_architecture_is_refused_by_name_before_anything_else_is_read(tmp_path: Path, kind: str) -> None:
    name = str(folder_of(tmp_path, kind))
    for read in (lambda: locate(name, SourceOptions()), lambda: locate_config(name)):
        with pytest.raises(ModelError, match=rf'architecture "{kind}" is refused, as it .*semtune list architectures'):
            read()


def test_nothing_but_the_config_is_downloaded_for_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = folder_of(tmp_path, "falcon"), []

    def download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ModelError, match='"falcon" is refused'):
        locate("owner/falcon", SourceOptions())
    assert asked == [["config.json"]]


def test_a_verdict_is_remembered_by_structure_and_not_by_size(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []
    own = self_check.mismatch
    monkeypatch.setattr(self_check, "mismatch", lambda config, **k: checked.append(config) or own(config, **k))
    granite = {"num_key_value_heads": 2, "logits_scaling": 4.0}
    assert refusal(GraniteConfig(**granite)) is None
    assert refusal(GraniteConfig(**granite, num_hidden_layers=3, hidden_size=2048)) is None
    assert len(checked) == 1
    assert refusal(GraniteConfig(**granite, hidden_act="gelu")) is None
    assert len(checked) == 2
    for file in private_cache.rglob("*.json"):
        file.write_text("broken")
    assert refusal(GraniteConfig(**granite)) is None
    assert len(checked) == 3


def test_the_tested_list_costs_no_check(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "mismatch", lambda *_, **__: pytest.fail("was checked"))
    for kind in ("llama", "qwen3", "mistral", "gpt2", "olmo2"):
        assert refusal(AutoConfig.for_model(kind)) is None
    assert not private_cache.exists()


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever drops the scaling of the logits, or lets texts see each other, fails the check."""
    config = GraniteConfig(logits_scaling=4.0)
    monkeypatch.setattr("semtune.models.loaded.is_plain", lambda model: True)
    assert "logits" in str(self_check.mismatch(config))


def test_plain_heads_keep_the_fused_loss() -> None:
    """llama, gpt2 and OPT: no logits beside one chunk; Granite's scaling needs its class's forward."""
    for kind, plain in (("llama", True), ("gpt2", True), ("opt", True), ("qwen2", True), ("granite", False)):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL | {"intermediate_size": 96}))
        assert is_plain(model) == plain, kind


def test_adapters_without_linear_layers_name_the_layers_that_there_are() -> None:
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40))
    install(model)
    loaded = TransformersModel(model, None, "toy", torch.float32, torch.device("cpu"), 32)
    with pytest.raises(TargetError, match=r"no plain linear layers.*c_attn \(Conv1D\)"):
        LORA.attach(loaded, LowRankSettings(rank=4, alpha=8, targets=("all-linear",)))


def test_a_head_reads_states_of_the_projected_width(tmp_path: Path) -> None:
    """Some OPT models project their states to the width of the embedding, which is not the config's hidden size."""
    config = AutoConfig.for_model(
        "opt", hidden_size=64, word_embed_proj_dim=32, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=330, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "opt")
    byte_level_tokenizer().save_pretrained(tmp_path / "opt")
    loaded = load(str(tmp_path / "opt"), precision="fp32")
    space = TargetSpace("label_set", ("a", "b"))
    head = Head(loaded, ReportPrompt(space), space, ReadoutSettings(max_length=32, predict_batch_size=2, seed=0))
    assert loaded.hidden_size == head.linear.in_features == 32
    assert head.probabilities([Example("1", "the fox", None)], None).shape == (1, 2)
