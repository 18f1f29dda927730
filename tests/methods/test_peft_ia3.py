"""(IA)³ and LN-tuning against PEFT, an independent implementation, in float64 to 1e-10; and its files, both ways."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semtune.errors import MergeRefusedError, ModelError, OptionError, TargetError
from semtune.methods.ia3 import IA3, IA3Settings, scaled_layers
from semtune.methods.ln_tuning import LN_TUNING, LNTuningSettings
from semtune.nn.linear import NF4Linear
from tests.methods.test_peft_oracle import compare, plain_twin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

# PEFT calls an attribute that transformers has deprecated, and doubts its own layers over norms; not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
]
CLOSE = {"rtol": 0.0, "atol": 1e-10}
NORMS = ["input_layernorm", "post_attention_layernorm", "norm"]


def config_of(kind: str) -> Any:
    if kind == "ln-tuning":
        return peft.LNTuningConfig(target_modules=NORMS, task_type="CAUSAL_LM")
    return peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )


METHOD = {"ia3": (IA3, IA3Settings()), "ln-tuning": (LN_TUNING, LNTuningSettings())}
KINDS = pytest.mark.parametrize("kind", list(METHOD))


def pairs_of(ours: nn.Module, theirs: nn.Module, kind: str) -> list[tuple[Tensor, Tensor]]:
    """Our trained parameters beside PEFT's, both with the same values away from the start."""
    named = dict(theirs.named_parameters())
    generator = torch.Generator().manual_seed(11)
    pairs = []
    for name, mine in METHOD[kind][0].trainable(ours).items():
        path, _, leaf = name.rpartition(".")
        suffix = "ia3_l.default" if kind == "ia3" else f"ln_tuning_layers.default.{leaf}"
        pairs.append((mine, named[f"base_model.model.{path}.{suffix}"]))
    with torch.no_grad():
        for mine, other in pairs:
            mine.add_(0.3 * torch.randn(mine.shape, generator=generator, dtype=torch.float64))
            other.copy_(mine.view(other.shape))
    return pairs


@pytest.fixture
def twins(toy_loaded, toy_model):
    """A factory: our tuned model, PEFT's, and the pairs of their trained parameters."""

    def build(kind: str, nf4: bool = False, bias: bool = False):
        loaded = toy_loaded("nf4" if nf4 else "fp32", bias=bias)
        twin = plain_twin(loaded.model, toy_model(bias=bias))
        method, settings = METHOD[kind]
        method.attach(loaded, settings)
        theirs = peft.get_peft_model(twin, config_of(kind)).eval()
        return loaded.model, theirs, pairs_of(loaded.model, theirs, kind)

    return build


@KINDS
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("nf4", [False, True])
def test_outputs_loss_and_gradients(kind: str, nf4: bool, bias: bool, twins, ids: Tensor) -> None:
    ours, theirs, pairs = twins(kind, nf4, bias)
    compare(ours, theirs, pairs, ids)
    assert len(pairs) == sum(p.requires_grad for p in theirs.parameters())


@KINDS
@pytest.mark.parametrize("bias", [False, True])
def test_merged_weights(kind: str, bias: bool, twins, ids: Tensor) -> None:
    ours, theirs, _ = twins(kind, bias=bias)
    METHOD[kind][0].merge(ours)
    merged = theirs.merge_and_unload()
    mine, other = ours.state_dict(), merged.state_dict()
    assert mine.keys() == other.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(tensor, other[key], **CLOSE)
    torch.testing.assert_close(ours(input_ids=ids).logits, merged(input_ids=ids).logits, **CLOSE)


@KINDS
def test_peft_reads_ours(kind: str, twins, toy_model, ids: Tensor, tmp_path: Path) -> None:
    ours, _, _ = twins(kind)
    method, settings = METHOD[kind]
    method.save(ours, tmp_path, settings, "toy")
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path)).eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, **CLOSE)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == (["down_proj", "k_proj", "v_proj"] if kind == "ia3" else sorted(NORMS))


@KINDS
def test_ours_reads_pefts(kind: str, twins, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    _, theirs, _ = twins(kind)
    theirs.save_pretrained(str(tmp_path))
    loaded = toy_loaded()
    method, settings = METHOD[kind]
    method.attach(loaded, settings)
    method.load(loaded.model, tmp_path)
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, theirs(input_ids=ids).logits, **CLOSE)


def test_peft_finds_exactly_the_layers_that_were_attached(toy_loaded, toy_model, ids: Tensor, tmp_path: Path) -> None:
    """Whole paths where a short name would select more."""
    settings = IA3Settings(targets=("model.layers.1.self_attn.k_proj",), feedforward_targets=("down_proj",))
    loaded = toy_loaded()
    IA3.attach(loaded, settings)
    for layer in scaled_layers(loaded.model).values():
        nn.init.normal_(layer.scale)
    IA3.save(loaded.model, tmp_path, settings, "toy")
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path)).eval()
    carrying = {n.removeprefix("base_model.model.") for n, m in theirs.named_modules() if hasattr(m, "ia3_l")}
    assert carrying == set(scaled_layers(loaded.model))
    torch.testing.assert_close(theirs(input_ids=ids).logits, loaded.model(input_ids=ids).logits, **CLOSE)


@KINDS
@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"key_of_the_future": 0.5}, "key_of_the_future"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"peft_type": "LORA"}, "LORA adapter"),
    ],
)
def test_a_config_that_says_more_is_refused(
    kind: str, fields: dict[str, Any], word: str, twins, toy_loaded, ids: Tensor, tmp_path: Path
) -> None:
    _, theirs, _ = twins(kind)
    theirs.save_pretrained(str(tmp_path))
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    loaded = toy_loaded()
    method, settings = METHOD[kind]
    method.attach(loaded, settings)
    before = loaded.model(input_ids=ids).logits
    with pytest.raises(ModelError, match=word):
        method.load(loaded.model, tmp_path)
    assert torch.equal(loaded.model(input_ids=ids).logits, before)


def test_a_layer_scaled_on_the_other_side_is_refused(twins, toy_loaded, tmp_path: Path) -> None:
    ours, _, _ = twins("ia3")
    IA3.save(ours, tmp_path, IA3Settings(), "toy")
    loaded = toy_loaded()
    IA3.attach(loaded, IA3Settings(targets=("k", "v", "down"), feedforward_targets=("o",)))
    with pytest.raises(ModelError):
        IA3.load(loaded.model, tmp_path)


def test_no_config_is_refused(twins, toy_loaded, tmp_path: Path) -> None:
    ours, _, _ = twins("ia3")
    IA3.save(ours, tmp_path, IA3Settings(), "toy")
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match="There is no file"):
        IA3.load(ours, tmp_path)


def test_4_bit_weights_are_trained_over_but_not_merged_into(toy_loaded, ids: Tensor) -> None:
    loaded = toy_loaded("nf4")
    IA3.attach(loaded, IA3Settings())
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    with pytest.raises(MergeRefusedError, match="bf16"):
        IA3.merge(loaded.model)
    assert scaled_layers(loaded.model) and any(isinstance(m, NF4Linear) for m in loaded.model.modules())


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        (IA3Settings(targets=("k_prj",)), TargetError, 'did you mean "k_proj"'),
        (IA3Settings(feedforward_targets=()), OptionError, "No targets"),
        (IA3Settings(targets=("all-linear",)), OptionError, "named by targets and by feedforward_targets"),
        (LNTuningSettings(targets=("q_proj",)), TargetError, "matches no norm"),
    ],
)
def test_impossible_targets(settings: Any, error: type[Exception], word: str, toy_loaded) -> None:
    loaded = toy_loaded()
    before = {name: p.requires_grad for name, p in loaded.model.named_parameters()}
    with pytest.raises(error, match=word):
        (IA3 if isinstance(settings, IA3Settings) else LN_TUNING).attach(loaded, settings)
    assert {name: p.requires_grad for name, p in loaded.model.named_parameters()} == before
