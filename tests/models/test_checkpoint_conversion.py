"""What transformers saves is loaded as transformers itself loads it, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from semtune.errors import ModelError
from semtune.models.checkpoint_conversion import ConvertedStream, is_finite
from semtune.models.loading import load
from semtune.models.meta_model import build_meta_model, fill, materialise_buffers
from semtune.models.quiet import quiet
from semtune.models.safetensors_stream import SafetensorsStream
from semtune.nn.packed_batch import PackedBatch

from .tiny_types import save_tiny, tiny_config

CPU = torch.device("cpu")
IDS = torch.tensor([5, 80, 31, 200, 7, 9])
RENAMED = ["mixtral", "qwen3_moe", "olmoe", "gpt_neox"]
"""Types whose files name tensors otherwise than their class: experts one by one, `embed_out`."""
TYPES = [
    *RENAMED, "qwen2_moe", "deepseek_v3", "granitemoe", "ernie4_5_moe", "phimoe", "gpt2", "opt", "phi3", "glm4_moe",
    "dots1", "gemma2", "olmo2", "starcoder2",
]  # fmt: skip


def of_transformers(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    with quiet():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@pytest.mark.parametrize("model_type", RENAMED)
def test_same_logits_as_from_pretrained(model_type: str, tmp_path: Path) -> None:
    save_tiny(model_type, tmp_path)
    loaded = load(str(tmp_path), precision="fp32", device="cpu")
    assert loaded.notes == ()
    with torch.no_grad():
        expected = of_transformers(tmp_path)(IDS.unsqueeze(0)).logits[0]
        found = loaded.logits(loaded.hidden_states(IDS, PackedBatch((len(IDS),))))
    assert torch.allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("model_type", TYPES)
def test_every_tensor_equals_from_pretrained(model_type: str, tmp_path: Path) -> None:
    save_tiny(model_type, tmp_path)
    expected = of_transformers(tmp_path).state_dict()
    model = build_meta_model(tiny_config(model_type), torch.float32)
    materialise_buffers(model, CPU)
    stream = ConvertedStream(SafetensorsStream([tmp_path / "model.safetensors"]), model)
    assert fill(model, stream, dtype=torch.float32, device=CPU) == ()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert set(stream.names()) <= set(expected)


def test_experts_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Twelve experts: sorted as text, 10 and 11 would come before 2."""
    save_tiny("qwen3_moe", tmp_path, num_experts=12)
    found = load(str(tmp_path), precision="fp32", device="cpu").model.state_dict()
    expected = of_transformers(tmp_path).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_one_group_of_experts_is_in_memory_at_a_time(tmp_path: Path) -> None:
    save_tiny("mixtral", tmp_path)
    files, waiting = SafetensorsStream([tmp_path / "model.safetensors"]), []

    class Watched:
        def names(self) -> list[str]:
            return files.names()

        def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in files:
                waiting.append(sum(len(g.waiting) for g in {id(g): g for g in stream._group_of.values()}.values()))
                yield name, tensor

    stream = ConvertedStream(Watched(), build_meta_model(tiny_config("mixtral"), torch.float32))
    names = [name for name, _ in stream]
    assert sorted(names) == sorted(stream.names())
    assert max(waiting) < 2 * 4 * 3 - 1  # fewer than the two layers' experts (gate, up and down) together


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    save_tiny("mixtral", tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if "layers.1" in name and "experts.2." in name)]
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.experts\.\w+.* do not belong together"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_broken_weights_are_named_as_that(tmp_path: Path, value: float, dtype: torch.dtype, precision: str) -> None:
    save_tiny("llama", tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r'base model are broken: "model.layers.1.mlp.up_proj.weight" has 1 of 3072 '):
        load(str(tmp_path), precision=precision, device="cpu")


def test_finite() -> None:
    assert is_finite(torch.tensor([torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max]))
    assert is_finite(torch.empty(0)) and is_finite(torch.tensor([1]))
    assert not is_finite(torch.tensor([1.0, float("nan")])) and not is_finite(torch.tensor([[-float("inf")]]))


def test_a_tensor_that_the_model_does_not_use_may_be_anything(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "mask": torch.full((2, 2), -float("inf"))}, file)
    assert load(str(tmp_path), device="cpu").notes == (
        "1 tensors in the model's files are not used by its architecture (mask)",
    )


def test_a_vision_tower_is_no_decoder() -> None:
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tiny_config("gemma3_text").to_dict()
    from transformers import Gemma3Config

    from semtune.models.architectures import linears_of

    config = Gemma3Config(text_config=text, vision_config={**vision, "image_size": 28, "patch_size": 14})
    linears = linears_of(build_meta_model(config, torch.float32))
    assert len(linears) == 2 * 7
    assert all("language_model" in path for path in linears)


def test_code_that_comes_with_a_model_is_not_needed_where_transformers_has_its_own(tmp_path: Path) -> None:
    save_tiny("phi3", tmp_path)
    file = tmp_path / "config.json"
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": code}))
    (tmp_path / "evil.py").write_text("raise SystemExit('code of a model must not run')")
    assert load(str(tmp_path), precision="fp32", device="cpu").hidden_size == 64
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "evil"}))
    with pytest.raises(ModelError, match=r"brings Python code of its own .*--trust-remote-code"):
        load(str(tmp_path), device="cpu")


@pytest.mark.slow
def test_whatever_transformers_saves_is_loaded_equal_or_refused_by_name(tmp_path: Path) -> None:
    """Every causal type of the installed transformers that a tiny config can be made of."""
    loaded, refused = 0, {}
    for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        folder = tmp_path / model_type
        try:
            with torch.device("meta"), quiet():
                small = sum(p.numel() for p in AutoModelForCausalLM.from_config(tiny_config(model_type)).parameters())
        except Exception:  # noqa: BLE001 - the sizes do not suit this config
            continue
        if small > 3_000_000:
            continue
        save_tiny(model_type, folder)
        expected = of_transformers(folder).state_dict()
        model = build_meta_model(tiny_config(model_type), torch.float32)
        materialise_buffers(model, CPU)
        try:
            files = SafetensorsStream([folder / "model.safetensors"])
            notes = fill(model, ConvertedStream(files, model), dtype=torch.float32, device=CPU)
        except ModelError as error:
            refused[model_type] = str(error)
            continue
        found = model.state_dict()
        assert found.keys() == expected.keys() and notes == (), model_type
        assert all(torch.equal(found[name].float(), tensor.float()) for name, tensor in expected.items()), model_type
        loaded += 1
    assert loaded > 100
    assert all("\n" not in said for said in refused.values())
