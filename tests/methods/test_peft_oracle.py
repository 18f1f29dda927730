"""LoRA, QLoRA, DoRA and QDoRA against PEFT, an independent implementation, in fp64 to 1e-10; its files, both ways."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semtune.methods._low_rank import adapters
from semtune.nn.linear import NF4Linear
from semtune.records import LowRankSettings
from semtune.registry import METHODS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

# PEFT calls an attribute that transformers has deprecated; not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SETTINGS = {
    "q and v": LowRankSettings(rank=8, alpha=32.0, dropout=0.0, targets=("q_proj", "v_proj")),
    "all": LowRankSettings(rank=4, alpha=6.0, dropout=0.0, targets=("all-linear",)),
    "rslora": LowRankSettings(rank=6, alpha=5.0, dropout=0.0, targets=("k_proj", "down_proj"), scaling="rslora"),
}
ALL_NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CLOSE = {"rtol": 0.0, "atol": 1e-10}


def config_for(name: str, settings: LowRankSettings):
    return peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=ALL_NAMES if settings.targets == ("all-linear",) else list(settings.targets),
        use_dora=METHODS.get(name).magnitudes,
        use_rslora=settings.scaling == "rslora",
        task_type="CAUSAL_LM",
    )


def plain_twin(model: nn.Module, twin: nn.Module) -> nn.Module:
    """`twin`, the toy model before quantising, with the weights that bitsandbytes makes of it and unpacks again."""
    import bitsandbytes.functional as bnb

    for path, module in model.named_modules():
        if isinstance(module, NF4Linear):
            linear = twin.get_submodule(path)
            codes, state = bnb.quantize_4bit(
                linear.weight.data.float(), blocksize=64, quant_type="nf4", compress_statistics=True
            )
            linear.weight.data = bnb.dequantize_4bit(codes, state).double()
    return twin


def fill_both(ours: nn.Module, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Random values, the same in both, in every adapter; pairs of the parameters."""
    generator = torch.Generator().manual_seed(11)
    named = dict(theirs.named_parameters())
    pairs = []
    for path, adapter in adapters(ours).items():
        prefix = f"base_model.model.{path}"
        pairs.append((adapter.lora_A, named[f"{prefix}.lora_A.default.weight"]))
        pairs.append((adapter.lora_B, named[f"{prefix}.lora_B.default.weight"]))
        if adapter.magnitude is not None:
            pairs.append((adapter.magnitude, named[f"{prefix}.lora_magnitude_vector.default.weight"]))
    with torch.no_grad():
        for mine, other in pairs:
            noise = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
            mine.copy_(mine * (1 + 0.3 * noise) if mine.ndim == 1 else 0.2 * noise)
            other.copy_(mine)
    return pairs


@pytest.fixture
def twins(toy_loaded, toy_model):
    """A factory: our tuned model, PEFT's, and the pairs of their adapter parameters, all away from the start."""

    def build(name: str, which: str, nf4: bool = False, bias: bool = False):
        loaded = toy_loaded("nf4" if nf4 else "fp32", bias=bias)
        twin = plain_twin(loaded.model, toy_model(bias=bias))
        METHODS.get(name).attach(loaded, SETTINGS[which])
        theirs = peft.get_peft_model(twin, config_for(name, SETTINGS[which])).eval()
        return loaded.model, theirs, fill_both(loaded.model, theirs)

    return build


def compare(ours: nn.Module, theirs: nn.Module, pairs: list[tuple[Tensor, Tensor]], ids: Tensor) -> None:
    """Logits, loss and every adapter gradient to 1e-10. Raises AssertionError."""
    mine, other = ours(input_ids=ids, labels=ids), theirs(input_ids=ids, labels=ids)
    torch.testing.assert_close(mine.logits, other.logits, **CLOSE)
    torch.testing.assert_close(mine.loss, other.loss, **CLOSE)
    mine.loss.backward()
    other.loss.backward()
    for a, b in pairs:
        assert a.grad is not None and a.grad.abs().max() > 1e-6
        torch.testing.assert_close(a.grad, b.grad.view(a.shape), **CLOSE)


CASES = [("lora", False), ("dora", False), ("qlora", True), ("dora", True), ("qdora", True)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("which", list(SETTINGS))
@pytest.mark.parametrize(("name", "nf4"), CASES)
def test_outputs_loss_and_gradients(name: str, nf4: bool, which: str, bias: bool, twins, ids: Tensor) -> None:
    compare(*twins(name, which, nf4, bias), ids)


@pytest.mark.parametrize("fault", ["scale", "transposed inner", "magnitude", "norm"])
def test_a_planted_fault_is_noticed(fault: str, twins, ids: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs, pairs = twins("dora", "q and v")
    adapter = next(iter(adapters(ours).values()))
    with torch.no_grad():
        if fault == "scale":
            adapter.scale *= 1 + 1e-6
        elif fault == "transposed inner":
            adapter.lora_A.copy_(adapter.lora_A.flip(0))
        elif fault == "magnitude":
            adapter.magnitude.mul_(1 + 1e-6)
        elif fault == "norm":
            adapter.base_row_square.mul_(1 + 1e-6)
    with pytest.raises(AssertionError):
        compare(ours, theirs, pairs, ids)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("which", list(SETTINGS))
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_merged_weights(name: str, which: str, bias: bool, twins, ids: Tensor) -> None:
    ours, theirs, _ = twins(name, which, bias=bias)
    METHODS.get(name).merge(ours)
    merged = theirs.merge_and_unload()
    mine, other = ours.state_dict(), merged.state_dict()
    assert mine.keys() == other.keys()
    for key, tensor in mine.items():
        torch.testing.assert_close(tensor, other[key], **CLOSE)
    torch.testing.assert_close(ours(input_ids=ids).logits, merged(input_ids=ids).logits, **CLOSE)


@pytest.mark.parametrize("which", list(SETTINGS))
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_peft_reads_ours(name: str, which: str, twins, toy_model, ids: Tensor, tmp_path: Path) -> None:
    ours, _, _ = twins(name, which)
    METHODS.get(name).save(ours, tmp_path, SETTINGS[which], "toy")
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path)).eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours(input_ids=ids).logits, **CLOSE)
    carrying = {n.removeprefix("base_model.model.") for n, m in theirs.named_modules() if hasattr(m, "lora_A")}
    assert carrying == set(adapters(ours))


@pytest.mark.parametrize("which", list(SETTINGS))
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_ours_reads_pefts(name: str, which: str, twins, toy_loaded, ids: Tensor, tmp_path: Path) -> None:
    _, theirs, _ = twins(name, which)
    theirs.save_pretrained(str(tmp_path))
    loaded = toy_loaded()
    METHODS.get(name).attach(loaded, SETTINGS[which])
    METHODS.get(name).load(loaded.model, tmp_path)
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, theirs(input_ids=ids).logits, **CLOSE)


def test_targets_in_the_config_select_exactly_the_attached(toy_loaded, toy_model, tmp_path: Path) -> None:
    """Short names where they suffice; whole paths where a short name would select more than was attached."""
    lora = METHODS.get("lora")
    loaded = toy_loaded()
    lora.attach(loaded, SETTINGS["q and v"])
    lora.save(loaded.model, tmp_path / "short", SETTINGS["q and v"], "toy")
    config = json.loads((tmp_path / "short" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["lora_alpha"] == 32 and config["base_model_name_or_path"] == "toy"

    settings = dataclasses.replace(SETTINGS["q and v"], targets=("model.layers.1.self_attn.q_proj",))
    loaded = toy_loaded()
    lora.attach(loaded, settings)
    lora.save(loaded.model, tmp_path / "long", settings, "toy")
    theirs = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path / "long"))
    carrying = [n for n, m in theirs.named_modules() if hasattr(m, "lora_A")]
    assert carrying == ["base_model.model.model.layers.1.self_attn.q_proj"]


PATTERNS = [
    {"rank_pattern": {"q_proj": 2}},
    {"alpha_pattern": {"layers.1.self_attn.v_proj": 5}},
    {"rank_pattern": {r".*\.0\.self_attn\.v_proj": 3, "v_proj": 6}, "alpha_pattern": {"q_proj": 1.5}},
]


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_rank_and_alpha_patterns_go_both_ways(
    name: str, pattern: dict, rslora: bool, toy_loaded, toy_model, ids: Tensor, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS["q and v"], scaling="rslora" if rslora else "standard")
    config = config_for(name, settings)
    for key, value in pattern.items():
        setattr(config, key, value)
    theirs = peft.get_peft_model(toy_model(), config).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in (p for p in theirs.parameters() if p.requires_grad):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    theirs.save_pretrained(str(tmp_path / "theirs"))
    loaded = toy_loaded()
    METHODS.get(name).attach(loaded, settings)
    METHODS.get(name).load(loaded.model, tmp_path / "theirs")
    expected = theirs(input_ids=ids).logits
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, **CLOSE)

    METHODS.get(name).save(loaded.model, tmp_path / "ours", settings, "toy")
    again = peft.PeftModel.from_pretrained(toy_model(), str(tmp_path / "ours")).eval()
    torch.testing.assert_close(again(input_ids=ids).logits, expected, **CLOSE)
    METHODS.get(name).merge(loaded.model)
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, expected, **CLOSE)
