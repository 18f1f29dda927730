"""PEFT adapters whose start changed the base model are refused; PEFT itself is the oracle for which those are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semtune.errors import ModelError
from semtune.records import LowRankSettings
from semtune.registry import METHODS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = LowRankSettings(rank=4, alpha=8.0, dropout=0.0, targets=("q_proj", "v_proj"))
CONFIG: dict[str, Any] = {
    "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "lora_dropout": 0.0,
}  # fmt: skip
STARTS: list[Any] = [True, False, "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora"]


def saved(folder: Path, toy_model: Any, start: Any) -> tuple[Any, bool]:
    """PEFT's model with a trained-looking adapter, saved; and whether PEFT changed the base."""
    base = toy_model().float()
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    torch.manual_seed(1)
    tuned = peft.get_peft_model(base, peft.LoraConfig(init_lora_weights=start, **CONFIG)).eval()
    after = {name.replace(".base_layer", ""): p for name, p in tuned.get_base_model().named_parameters()}
    changed = any(not torch.equal(p, after[name]) for name, p in before.items())
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    tuned.save_pretrained(str(folder))
    return tuned, changed


def loaded_here(folder: Path, toy_loaded: Any) -> Any:
    loaded = toy_loaded()
    METHODS.get("lora").attach(loaded, SETTINGS)
    METHODS.get("lora").load(loaded.model, folder)
    return loaded.model


@pytest.mark.parametrize("start", STARTS)
def test_a_start_that_changed_the_base_is_refused(
    start: Any, toy_model: Any, toy_loaded: Any, ids: Tensor, tmp_path: Path
) -> None:
    tuned, changed = saved(tmp_path, toy_model, start)
    assert changed == (str(start).startswith("pissa") or start == "olora")
    if changed:
        with pytest.raises(ModelError, match=rf"init_lora_weights='{start}', which changes the base .*convert it"):
            loaded_here(tmp_path, toy_loaded)
        return
    with torch.no_grad():
        expected, found = tuned(input_ids=ids).logits, loaded_here(tmp_path, toy_loaded)(input_ids=ids).logits
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("start", ["loftq", "corda", "lora_ga", "PiSSA", "a start of the future", 3])
def test_other_starts_are_refused(start: Any, toy_model: Any, toy_loaded: Any, tmp_path: Path) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, init_lora_weights=start)
    with pytest.raises(ModelError, match="init_lora_weights="):
        loaded_here(tmp_path, toy_loaded)


@pytest.mark.parametrize("start", ["eva", "mica", "Gaussian", False])
def test_starts_that_leave_the_base_alone_are_read(start: Any, toy_model: Any, toy_loaded: Any, tmp_path: Path) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, init_lora_weights=start)
    loaded_here(tmp_path, toy_loaded)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_qalora", True), ("alora_invocation_tokens", [1, 2]), ("layer_replication", [[0, 2]]), ("bias", "all"),
        ("trainable_token_indices", [3]), ("fan_in_fan_out", True), ("key_of_the_future", 0.5), ("lora_bias", True),
        ("arrow_config", {"top_k": 2}), ("modules_to_save", ["lm_head"]),
    ],
)  # fmt: skip
def test_a_key_that_changes_what_is_computed_is_refused(
    key: str, value: Any, toy_model: Any, toy_loaded: Any, tmp_path: Path
) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, **{key: value})
    with pytest.raises(ModelError, match=f"sets {key}, which is not supported"):
        loaded_here(tmp_path, toy_loaded)


def test_empty_unknown_keys_are_read(toy_model: Any, toy_loaded: Any, tmp_path: Path) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, key_of_the_future=None, another=False, third={}, exclude_modules=["lm_head"])
    loaded_here(tmp_path, toy_loaded)


def test_another_scaling_than_the_attached_one_is_refused(toy_model: Any, toy_loaded: Any, tmp_path: Path) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, use_rslora=True)
    with pytest.raises(ModelError, match="give alpha 8 and scaling rslora"):
        loaded_here(tmp_path, toy_loaded)


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("value", [{"q_proj": "2"}, {"q_proj": 0}, {"q_proj": True}, [2], "q_proj", {"q(": 2}], ids=str)
def test_a_broken_pattern_is_refused(key: str, value: Any, toy_model: Any, toy_loaded: Any, tmp_path: Path) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, **{key: value})
    with pytest.raises(ModelError, match=key):
        loaded_here(tmp_path, toy_loaded)


def test_a_pattern_that_its_own_tensors_do_not_follow_is_refused(
    toy_model: Any, toy_loaded: Any, tmp_path: Path
) -> None:
    saved(tmp_path, toy_model, True)
    edit(tmp_path, rank_pattern={"q_proj": 2})
    with pytest.raises(ModelError, match="shape"):
        loaded_here(tmp_path, toy_loaded)


def edit(folder: Path, **fields: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
