"""Every causal-LM architecture of the installed transformers, on a tiny random model: right or refused, nothing third.

The oracle is stock transformers in the model's own attention, one text at a time and without a cache. The list of
verdicts that semtune ships (`tested.json`) is held equal to what is found here; `SEMTUNE_WRITE_TESTED=1` rewrites it.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, __version__
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import semtune.models
from semtune.errors import ModelError
from semtune.methods.lora import LORA
from semtune.models import supported
from semtune.models.architectures import architecture_of, install
from semtune.models.fake_model import layer_count, with_layers
from semtune.models.loaded import TransformersModel
from semtune.models.meta_model import build_meta_model
from semtune.models.quiet import quiet
from semtune.models.supported import RIGHT, check_supported, refusal, verdicts
from semtune.models.tiny_config import tiny_config
from semtune.records import LowRankSettings

TYPES = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
TABLE = Path(semtune.models.__file__).parent / "tested.json"
ASSISTANT = {"model_type": "gemma4_text", "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
REALISTIC: dict[str, dict[str, Any]] = {
    # The class's defaults alone make no model: a size that every published config gives is None.
    "nemotron": {"num_key_value_heads": 8},
    "ministral": {"head_dim": 128},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8, "moe_topk": 2},
    "gemma4_assistant": {"text_config": ASSISTANT},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    # The defaults have attention layers alone, published configs have convolutions between them.
    "lfm2": {"layer_types": ["conv", "full_attention"] * 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
}
"""Fields of the configs that are tried, where the defaults of their class will not do."""
NOT_BUILT = {
    "cohere_compass_text": "its rotary embedding looks for a kind of layer that the defaults do not have",
    "dbrx": "its config class has no rope_theta",
    "dots3_note": "kinds of layers in a field of its own",
    "dots3_note_text": "kinds of layers in a field of its own",
    "blt": "its patcher and byte embeddings keep their size",
    "gemma3n": "needs the library timm",
    "gemma4_assistant": "a draft model: takes the states of another model",
    "gemma4_unified_assistant": "a draft model: takes the states of another model",
    "longcat_flash": "its projections split sizes that shrink differently",
    "reformer": "refuses a config that is no decoder",
    "xmod": "needs a language to be set",
}
"""Types whose small copy cannot be built: refused, with the reason why."""
NOT_PLANNED = ("gemma3n_text",)
"""Its last layers share the keys of earlier ones, so a model of few layers cannot be built: plans are refused."""
MUST_BE_RIGHT = (
    "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma3_text", "phi", "phi3", "olmo2", "olmo3", "gpt2",
    "gpt_neox", "gpt_bigcode", "opt", "starcoder2", "exaone4", "arcee", "doge", "mixtral", "qwen3_moe", "olmoe",
    "deepseek_v3", "granite", "cohere", "cohere2",
)  # fmt: skip
LENGTHS = (14, 3, 10)
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def config_of(kind: str, **changes: Any) -> Any:
    return AutoConfig.for_model(kind, **REALISTIC.get(kind, {}), **changes)


def stock_model(config: Any) -> torch.nn.Module:
    """Random weights under which every part of the model matters."""
    torch.manual_seed(7)
    with quiet():
        model = AutoModelForCausalLM.from_config(tiny_config(config), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape) * 1.2 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@torch.no_grad()
def logits_alone(model: torch.nn.Module, text: list[int]) -> Tensor:
    return model(input_ids=torch.tensor([text]), use_cache=False).logits[0]


def assert_equal(ours: Tensor, expected: Tensor, what: str) -> None:
    assert ours.shape == expected.shape, what
    assert (ours - expected).abs().max() <= TOLERANCE * expected.abs().max(), what


def assert_right(config: Any) -> None:
    """Logits, loss and gradients of packed texts, decoding with a cache, trees: all as stock transformers."""
    stock = stock_model(config)
    generator = torch.Generator().manual_seed(3)
    texts = [torch.randint(4, 40, (n,), generator=generator).tolist() for n in LENGTHS]
    expected = [logits_alone(stock, text) for text in texts]
    model = copy.deepcopy(stock)
    with quiet():
        install(model)
    loaded = TransformersModel(model, None, kind_of(config), torch.float32, torch.device("cpu"), 64)
    with torch.no_grad():
        assert_equal(loaded.logits(loaded.hidden_states(*loaded.pack(texts))), torch.cat(expected), "packed")
        cache, parts = loaded.new_cache(len(texts)), []
        for start, end in ((0, 2), (2, 3)):
            new = [text[start:end] for text in texts]
            parts.append(
                loaded.logits(loaded.hidden_states(*loaded.pack(new, cache))).split([end - start] * len(texts))
            )
        for i, text_parts in enumerate(zip(*parts, strict=True)):
            assert_equal(torch.cat(text_parts), expected[i][:3], "cached")
    loss = loaded.next_token_loss(loaded.hidden_states(*loaded.pack([t[:-1] for t in texts])), targets_of(texts))
    stock_loss = sum(stock_loss_of(stock, text) for text in texts)
    assert abs(float(loss) - float(stock_loss)) <= TOLERANCE * float(stock_loss), "loss"
    loss.backward()
    stock_loss.backward()
    grads = {name: p.grad for name, p in stock.named_parameters() if p.grad is not None}
    scale = max(float(g.abs().max()) for g in grads.values())
    for name, parameter in model.named_parameters():
        if name in grads:
            assert parameter.grad is not None, name
            assert float((parameter.grad - grads[name]).abs().max()) <= 10 * TOLERANCE * scale, name
    assert_adapters_train(loaded, texts)


def kind_of(config: Any) -> str:
    return str(config.model_type)


def targets_of(texts: list[list[int]]) -> Tensor:
    return torch.tensor(list(itertools.chain.from_iterable(text[1:] for text in texts)))


def stock_loss_of(stock: torch.nn.Module, text: list[int]) -> Tensor:
    logits = stock(input_ids=torch.tensor([text[:-1]]), use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(text[1:]), reduction="sum")


def assert_adapters_train(loaded: TransformersModel, texts: list[list[int]]) -> None:
    """LoRA attaches to all linear layers and gets gradients."""
    if not loaded.linears():
        return
    LORA.attach(loaded, LowRankSettings(rank=4, alpha=8, targets=("all-linear",)))
    loaded.model.train()
    loss = loaded.next_token_loss(loaded.hidden_states(*loaded.pack([t[:-1] for t in texts])), targets_of(texts))
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in LORA.trainable(loaded.model).values())


def verdict(config: Any) -> str:
    """ "right", or the reason of a refusal without figures."""
    reason = refusal(config)
    return RIGHT if reason is None else re.sub(r" \(relative error [^)]*\)", "", reason)


@pytest.mark.parametrize("kind", TYPES)
def test_right_or_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supported, "_tested_as_default", lambda config, fields: False)
    config = config_of(kind)
    found = verdict(config)
    if os.environ.get("SEMTUNE_WRITE_TESTED"):
        table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {"types": {}}
        table = {"transformers": __version__, "types": dict(sorted({**table["types"], kind: found}.items()))}
        TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        verdicts.cache_clear()
    if found == RIGHT:
        assert_right(config)
        check_supported(config)
        if kind not in NOT_PLANNED:
            planned = with_layers(tiny_config(config), 3)
            model = build_meta_model(planned, torch.float32)
            assert len(architecture_of(model).blocks(model)) == layer_count(planned) == 3
    else:
        assert kind not in MUST_BE_RIGHT, found
        assert ("cannot be checked" in found) == (kind in NOT_BUILT), found
        with pytest.raises(ModelError, match=kind):
            check_supported(config)
    if verdicts()["transformers"] == __version__:
        # In parentheses stand other libraries' words, which depend on what is installed.
        known = verdicts()["types"][kind].split(" (")[0]
        assert known == found.split(" (")[0], "run with SEMTUNE_WRITE_TESTED=1 and look at what changed"


VARIANTS: list[tuple[str, dict[str, Any], bool | None]] = [
    # Type, fields, whether it must be right (None: right or refused).
    ("granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22}, True),
    ("granite", {"attention_multiplier": 0.015625}, True),
    ("granitemoe", {"logits_scaling": 6.0, "embedding_multiplier": 12.0}, True),
    ("cohere", {"logit_scale": 0.25, "use_qk_norm": True}, True),
    ("cohere2", {"logit_scale": 0.25}, True),
    ("gemma3_text", {"final_logit_softcapping": 3.0}, True),
    ("gemma3_text", {"attn_logit_softcapping": 3.0}, None),
    ("gemma2", {"attn_logit_softcapping": None}, True),
    ("nanochat", {"final_logit_softcapping": 3.0}, True),
    ("opt", {"word_embed_proj_dim": 384, "do_layer_norm_before": False}, True),
    ("opt", {"enable_bias": False}, True),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, True),
    ("gpt2", {"reorder_and_upcast_attn": True}, None),
    ("gpt2", {"add_cross_attention": True}, None),
    ("gpt_bigcode", {"multi_query": False}, True),
    ("gpt_neox", {"use_parallel_residual": False}, True),
    ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}, True),
    ("phi", {"qk_layernorm": True}, None),
    ("falcon", {"alibi": True}, False),
    ("falcon", {"new_decoder_architecture": True}, False),
    ("llama", {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}, True),
    ("llama", {"hidden_act": "gelu"}, True),
    ("llama", {"head_dim": 64}, True),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}}, True),
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, None),
    ("mistral", {"sliding_window": None}, True),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, True),
    ("qwen3", {"use_sliding_window": True, "max_window_layers": 1}, True),
    ("olmo2", {"num_key_value_heads": 8}, True),
    ("olmo", {"clip_qkv": 0.5}, True),
    ("smollm3", {"no_rope_layer_interval": 2}, True),
    ("bert", {"is_decoder": True}, None),
    ("roberta", {"is_decoder": True}, None),
    ("mixtral", {"sliding_window": 4096}, True),
    ("gemma3_text", {"use_bidirectional_attention": True}, None),
    ("doge", {"is_moe": True}, None),
    ("phi3", {"partial_rotary_factor": 0.75}, True),
    ("lfm2", {"layer_types": ["full_attention"] * 32}, True),
]


@pytest.mark.parametrize(("kind", "changes", "right"), VARIANTS, ids=lambda v: v if isinstance(v, str) else None)
def test_what_a_config_changes_is_checked_too(kind: str, changes: dict[str, Any], right: bool | None) -> None:
    """A type on the tested list is not trusted with another config than its default."""
    config = AutoConfig.for_model(kind, **changes)
    found = verdict(config)
    if right is not None:
        assert (found == RIGHT) == right, found
    if found == RIGHT:
        assert_right(config)
