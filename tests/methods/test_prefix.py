"""Prefix tuning against PEFT in float64, its files in both directions, and its start from real words."""

from __future__ import annotations

import dataclasses
import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods._prefixes import PrefixSettings, prefixes
from semtune.methods.prefix import PREFIX
from semtune.models.architectures import architecture_of, install
from semtune.nn.learned_prefix import EncodedPrefix, LearnedPrefix
from semtune.nn.packed_batch import PackedBatch

from .conftest import ToyBundle
from .exact_rotary import exact_rotary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CLOSE = {"rtol": 0.0, "atol": 1e-10}
SETTINGS = PrefixSettings(prefix_length=5)
LAYERS, LENGTH, KV_HEADS, HEAD_DIM = 2, 5, 2, 16


@pytest.fixture(autouse=True)
def rotary() -> Iterator[None]:
    with exact_rotary():
        yield


def attached(loaded: ToyBundle, **changes: object) -> nn.Module:
    torch.manual_seed(1)
    PREFIX.attach(loaded, dataclasses.replace(SETTINGS, **changes))
    return loaded.model


def pefts(toy: nn.Module, **options: object) -> Any:
    config = peft.PrefixTuningConfig(num_virtual_tokens=LENGTH, task_type="CAUSAL_LM", **options)
    model = peft.get_peft_model(toy, config)
    model.prompt_encoder.double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def by_layer(embeddings: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(length, layers · 2 · kv_heads · head_dim) -> (keys, values) of each layer, (kv_heads, length, head_dim) each."""
    parts = embeddings.view(LENGTH, LAYERS, 2, KV_HEADS, HEAD_DIM).permute(1, 2, 3, 0, 4)
    return [(keys, values) for keys, values in parts]


def copy_from(theirs: Any, ours: nn.Module) -> list[LearnedPrefix]:
    found = list(prefixes(ours).values())
    with torch.no_grad():
        for prefix, (keys, values) in zip(found, by_layer(theirs.prompt_encoder.default.embedding.weight), strict=True):
            prefix.keys.copy_(keys)
            prefix.values.copy_(values)
    return found


def test_outputs_loss_and_gradients_equal_pefts(toy_loaded: Any, toy_model: Any, ids: Tensor) -> None:
    """With grouped queries: two key-value heads under four query heads."""
    theirs, ours = pefts(toy_model()), attached(toy_loaded())
    found = copy_from(theirs, ours)
    mine, other = ours(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, other.logits, **CLOSE)
    torch.testing.assert_close(mine.loss, other.loss, **CLOSE)
    mine.loss.backward()
    other.loss.backward()
    for prefix, (keys, values) in zip(
        found, by_layer(theirs.prompt_encoder.default.embedding.weight.grad), strict=True
    ):
        assert prefix.keys.grad is not None and prefix.keys.grad.abs().max() > 1e-6
        torch.testing.assert_close(prefix.keys.grad, keys, **CLOSE)
        torch.testing.assert_close(prefix.values.grad, values, **CLOSE)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_batch_equals_pefts_texts_one_by_one(
    checkpointing: bool, toy_loaded: Any, toy_model: Any, ids: Tensor
) -> None:
    theirs, ours = pefts(toy_model()), attached(toy_loaded())
    found = copy_from(theirs, ours)
    texts, lengths = [ids[0], ids[1, :4], ids[2, :7]], (11, 4, 7)
    hidden = architecture_of(ours).hidden_states(
        ours.train(), torch.cat(texts), PackedBatch(lengths), checkpointing=checkpointing
    )
    expected = torch.cat([theirs(input_ids=text[None]).logits[0] for text in texts])
    logits = ours.lm_head(hidden)
    torch.testing.assert_close(logits, expected, **CLOSE)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for prefix, pair in zip(found, by_layer(theirs.prompt_encoder.default.embedding.weight.grad), strict=True):
        for parameter, other in zip((prefix.keys, prefix.values), pair, strict=True):
            torch.testing.assert_close(parameter.grad, other, rtol=1e-9, atol=1e-9)


def test_the_mlp_equals_pefts_projection(toy_loaded: Any, toy_model: Any, ids: Tensor) -> None:
    theirs = pefts(toy_model(), prefix_projection=True, encoder_hidden_size=7)
    loaded = toy_loaded()
    loaded.hidden_size = KV_HEADS * HEAD_DIM  # columns of the paper's P'; PEFT takes as many as a key has numbers
    ours = attached(loaded, prefix_mlp_size=7, prefix_start="random")
    encoder = theirs.prompt_encoder.default
    first, last = encoder.transform[0], encoder.transform[2]
    found = list(prefixes(ours).values())
    pairs = [
        (found[0].encoder.embedding, encoder.embedding.weight),
        (found[0].encoder.weight, first.weight),
        (found[0].encoder.bias, first.bias),
    ]
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other)
        for prefix, weight, bias in zip(found, last.weight.chunk(LAYERS), last.bias.chunk(LAYERS), strict=True):
            prefix.weight.copy_(weight)
            prefix.bias.copy_(bias)
    mine, other = ours(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, other.logits, **CLOSE)
    mine.loss.backward()
    other.loss.backward()
    for parameter, theirs_parameter in pairs:
        torch.testing.assert_close(parameter.grad, theirs_parameter.grad, **CLOSE)
    torch.testing.assert_close(torch.cat([prefix.weight.grad for prefix in found]), last.weight.grad, **CLOSE)
    torch.testing.assert_close(torch.cat([prefix.bias.grad for prefix in found]), last.bias.grad, **CLOSE)


@pytest.mark.parametrize("mlp", [0, 7])
def test_peft_reads_ours(mlp: int, toy_loaded: Any, toy_model: Any, ids: Tensor, tmp_path: Path) -> None:
    ours = attached(toy_loaded(), prefix_mlp_size=mlp)
    move(ours)
    PREFIX.save(ours, tmp_path, SETTINGS, "toy")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["num_virtual_tokens"] == LENGTH and config["base_model_name_or_path"] == "toy"
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path)).eval()
    # PEFT holds the prefix in fp32, whatever the file and the model are.
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("projection", [False, True])
def test_ours_reads_pefts(projection: bool, toy_loaded: Any, toy_model: Any, ids: Tensor, tmp_path: Path) -> None:
    theirs = pefts(toy_model(), prefix_projection=projection, encoder_hidden_size=7)
    theirs.save_pretrained(str(tmp_path))
    ours = attached(toy_loaded())
    PREFIX.load(ours, tmp_path)
    torch.testing.assert_close(ours(input_ids=ids).logits, theirs(input_ids=ids).logits, **CLOSE)


def test_the_mlp_is_dropped_from_files_and_when_they_are_read(toy_loaded: Any, ids: Tensor, tmp_path: Path) -> None:
    trained, read = (attached(toy_loaded(), prefix_mlp_size=7) for _ in range(2))
    move(trained)
    PREFIX.save(trained, tmp_path, SETTINGS, "toy")
    PREFIX.load(read, tmp_path)
    assert all(isinstance(prefix, EncodedPrefix) for prefix in prefixes(trained).values())
    assert all(isinstance(prefix, LearnedPrefix) for prefix in prefixes(read).values())
    assert PREFIX.trainable(read).keys() == {
        f"model.layers.{i}.self_attn.prefix.{part}" for i in range(LAYERS) for part in ("keys", "values")
    }
    assert torch.equal(read(input_ids=ids).logits, trained(input_ids=ids).logits)


@pytest.mark.parametrize("mlp", [0, 7])
@torch.no_grad()
def test_the_start_is_that_of_real_words_in_front_of_the_text(mlp: int, toy_loaded: Any, ids: Tensor) -> None:
    plain, ours = toy_loaded().model, attached(toy_loaded(), prefix_mlp_size=mlp)
    words = torch.tensor(random.Random(1).choices(range(97), k=LENGTH))
    longer = torch.cat([words.expand(len(ids), -1), ids], dim=1)
    torch.testing.assert_close(ours(input_ids=ids).logits, plain(input_ids=longer).logits[:, LENGTH:], **CLOSE)


def test_a_random_start_depends_on_the_seed_alone(toy_loaded: Any, ids: Tensor) -> None:
    first, second = (attached(toy_loaded(), prefix_start="random")(input_ids=ids).logits for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(2)
    other = toy_loaded()
    PREFIX.attach(other, dataclasses.replace(SETTINGS, prefix_start="random"))
    assert not torch.equal(other.model(input_ids=ids).logits, first)


def test_a_model_whose_rotation_is_not_known_has_a_file_of_its_own(tmp_path: Path, ids: Tensor) -> None:
    """GPT-2: PEFT would shift its learned positions by the prefix, so PEFT must not read the file."""

    def bundle() -> ToyBundle:
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=97, n_positions=64)).double()
        install(model.eval())
        loaded = ToyBundle(model)
        loaded.hidden_size = 32
        return loaded

    ours, read = attached(bundle()), attached(bundle(), prefix_start="random")
    move(ours)
    PREFIX.save(ours, tmp_path, SETTINGS, "toy")
    PREFIX.load(read, tmp_path)
    assert torch.equal(read(input_ids=ids).logits, ours(input_ids=ids).logits)
    with pytest.raises((KeyError, ValueError)):
        peft.PeftModel.from_pretrained(bundle().model, str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LORA"}, "describes a LORA adapter; only PREFIX_TUNING"),
        ({"num_virtual_tokens": 9}, r"has 9 prefix_length \(num_virtual_tokens\), the model was prepared for 5"),
        ({"num_layers": 3}, "has 3 layers"),
        ({"num_attention_heads": 4}, "has 4 key-value heads"),
        ({"token_dim": None}, "has None numbers of a key"),
        ({"num_transformer_submodules": 2}, "sets num_transformer_submodules, which is not supported"),
        ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
        ({"key_of_the_future": 0.5}, "sets key_of_the_future"),
    ],
)
def test_another_config_is_refused(
    fields: dict[str, Any], message: str, toy_loaded: Any, ids: Tensor, tmp_path: Path
) -> None:
    model = attached(toy_loaded())
    PREFIX.save(model, tmp_path, SETTINGS, "toy")
    move(model)
    before = model(input_ids=ids).logits
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    with pytest.raises(ModelError, match=message):
        PREFIX.load(model, tmp_path)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_merging_is_refused(toy_loaded: Any) -> None:
    with pytest.raises(MergeRefusedError, match="no weight of the base model can hold; predict with the run as it is"):
        PREFIX.merge(attached(toy_loaded()))


def test_a_second_prefix_is_refused(toy_loaded: Any) -> None:
    loaded = toy_loaded()
    attached(loaded)
    with pytest.raises(OptionError, match="carries a prefix already"):
        attached(loaded)


def test_a_model_without_such_attention_is_refused_unchanged(toy_loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = toy_loaded()
    monkeypatch.setattr(loaded, "attentions", list)
    with pytest.raises(TargetError, match="no attention layer that reads a learned prefix; choose --method"):
        attached(loaded)
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def move(model: nn.Module) -> None:
    """Away from the start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in PREFIX.trainable(model).values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
