"""The whole fast step against PEFT's: a packed_batch batch, unpadded, pruned and chunked here, padded and whole there.

Loss and every adapter's gradient agree to 1e-10 in fp64, for every method with adapters, over plain and 4-bit weights.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semtune.methods._low_rank import adapters
from semtune.nn.linear import NF4Linear
from semtune.records import LowRankSettings
from semtune.registry import METHODS
from tests.toys import tokenized, toy_loaded, toy_model, toy_readout

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

# PEFT calls an attribute that transformers has deprecated; not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TARGETS = {
    ("q_proj", "v_proj"): ["q_proj", "v_proj"],
    ("all-linear",): ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    ("down_proj",): ["down_proj"],
}


def peft_twin(loaded, name: str, settings: LowRankSettings) -> nn.Module:
    """PEFT's model with the same base weights (a 4-bit base as its values) and the same adapters."""
    base = toy_model()
    for path, adapter in adapters(loaded.model).items():
        if isinstance(adapter.base, NF4Linear):
            base.get_submodule(path).weight.data = adapter.base.dequantize(torch.float64)
    for path, module in loaded.linears().items():
        if isinstance(module, NF4Linear) and not path.endswith(".base"):
            base.get_submodule(path).weight.data = module.dequantize(torch.float64)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=TARGETS[settings.targets],
        use_dora=METHODS.get(name).magnitudes,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(base, config).eval()


def pairs_away_from_the_start(ours: nn.Module, theirs: nn.Module) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    named = dict(theirs.named_parameters())
    generator = torch.Generator().manual_seed(3)
    pairs = []
    for path, adapter in adapters(ours).items():
        prefix = f"base_model.model.{path}"
        found = {"lora_A": f"{prefix}.lora_A.default.weight", "lora_B": f"{prefix}.lora_B.default.weight"}
        if adapter.magnitude is not None:
            found["magnitude"] = f"{prefix}.lora_magnitude_vector.default.weight"
        for mine, other in found.items():
            pairs.append((f"{path}.{mine}", getattr(adapter, mine), named[other]))
    with torch.no_grad():
        for _, mine, other in pairs:
            noise = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
            mine.copy_(mine * (1 + 0.3 * noise) if mine.ndim == 1 else 0.2 * noise)
            other.copy_(mine)
    return pairs


def step_of_peft(model: nn.Module, texts) -> torch.Tensor:
    """Mean over the completions' tokens, in fp64: texts padded on the right, logits of all positions."""
    longest = max(map(len, texts))
    ids, mask = torch.ones(len(texts), longest, dtype=torch.long), torch.zeros(len(texts), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text.ids), 1
        labels[row, text.prompt_length : len(text)] = torch.tensor(text.ids[text.prompt_length :])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))


def differences(name: str, targets: tuple[str, ...], nf4: bool, fault: str | None = None) -> dict[str, float]:
    """The largest difference of the loss and of each gradient."""
    loaded = toy_loaded(nf4=nf4)
    settings = LowRankSettings(rank=4, alpha=6.0, targets=targets, precision="nf4" if nf4 else "fp32")
    readout = toy_readout("generate", loaded)
    METHODS.get(name).attach(loaded, settings)
    theirs = peft_twin(loaded, name, settings)
    pairs = pairs_away_from_the_start(loaded.model, theirs)
    texts = tokenized(readout)
    assert len({len(text) for text in texts}) == len(texts)  # packed_batch
    if fault == "adapter":
        next(iter(adapters(loaded.model).values())).scale *= 1 + 1e-8
    loss, num_targets = readout.loss(texts[:-1] if fault == "text" else texts)
    (loss / num_targets).backward()
    expected = step_of_peft(theirs, texts)
    expected.backward()
    found = {"loss": abs(float((loss / num_targets - expected).detach()))}
    for path, mine, other in pairs:
        assert mine.grad is not None
        assert float(other.grad.abs().max()) > 1e-8, path
        found[path] = float((mine.grad - other.grad).abs().max())
    return found


@pytest.mark.parametrize("targets", list(TARGETS), ids=lambda targets: targets[0])
@pytest.mark.parametrize(("name", "nf4"), [("lora", False), ("dora", False), ("qlora", True), ("dora", True)])
def test_loss_and_gradients_equal_those_of_peft(name: str, nf4: bool, targets: tuple[str, ...]) -> None:
    found = differences(name, targets, nf4)
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize("fault", ["adapter", "text"])
def test_a_planted_fault_is_noticed(fault: str) -> None:
    assert max(differences("lora", ("q_proj", "v_proj"), False, fault).values()) > 1e-10
