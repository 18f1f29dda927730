"""Loading a folder: equal to transformers' own loading, one tensor at a time, and clear about broken files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from semtune.errors import ModelError, OptionError
from semtune.models.loaded import TransformersModel
from semtune.models.loading import load
from semtune.models.locate import locate_config, prepare
from semtune.nn.linear import NF4Linear
from semtune.nn.nf4 import dequantize_nf4, quantize_nf4
from semtune.nn.packed_batch import PackedBatch

SaveModel = Callable[..., Path]
IDS = torch.tensor([5, 80, 31, 200, 7, 9])


def logits(loaded: TransformersModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return loaded.logits(loaded.hidden_states(ids, PackedBatch((len(ids),))))


def reference(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("llama", True), ("qwen2", False), ("qwen2", True)])
def test_same_logits_as_from_pretrained(model_folder: SaveModel, kind: str, tied: bool) -> None:
    folder = model_folder(kind, tied=tied)
    loaded = load(str(folder), precision="fp32", device="cpu")
    with torch.no_grad():
        expected = reference(folder)(IDS.unsqueeze(0)).logits[0]
        assert torch.allclose(loaded.model(IDS.unsqueeze(0)).logits[0], expected, atol=1e-5)
    assert torch.allclose(logits(loaded), expected, atol=1e-5)
    assert (loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight) == tied
    assert not loaded.model.training
    assert not any(t.is_meta for t in [*loaded.model.parameters(), *loaded.model.buffers()])


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_every_tensor_and_buffer_equals_from_pretrained(model_folder: SaveModel, kind: str) -> None:
    folder = model_folder(kind)
    expected = reference(folder, torch.bfloat16)
    model = load(str(folder), precision="bf16", device="cpu").model
    ours = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    theirs = {**dict(expected.named_parameters()), **dict(expected.named_buffers())}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


def test_sharded_files_with_an_index(model_folder: SaveModel) -> None:
    folder = model_folder(max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    with torch.no_grad():
        expected = reference(folder)(IDS.unsqueeze(0)).logits[0]
    assert torch.allclose(logits(load(str(folder), precision="fp32", device="cpu")), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_nf4_quantises_the_decoder_and_nothing_else(model_folder: SaveModel, kind: str) -> None:
    folder = model_folder(kind)
    loaded = load(str(folder), precision="nf4", device="cpu")
    linears = loaded.linears()
    assert len(linears) == 2 * 7
    assert all(isinstance(layer, NF4Linear) for layer in linears.values())
    assert isinstance(loaded.model.lm_head, torch.nn.Linear)
    weights = load_file(folder / "model.safetensors")
    path = "model.layers.1.self_attn.q_proj"
    expected = dequantize_nf4(quantize_nf4(weights[f"{path}.weight"]), torch.float32)
    assert torch.equal(linears[path].dequantize(torch.float32), expected)
    if kind == "qwen2":
        assert torch.equal(linears[path].bias, weights[f"{path}.bias"].to(loaded.compute_dtype))
    # The same model, its weights replaced by what NF4 makes of them.
    other = reference(folder, loaded.compute_dtype)
    for name, layer in linears.items():
        other.get_submodule(name).weight.data = layer.dequantize(loaded.compute_dtype)
    with torch.no_grad():
        expected_logits = other(IDS.unsqueeze(0)).logits[0]
    tolerance = 2e-2 if loaded.compute_dtype == torch.bfloat16 else 1e-5
    assert (logits(loaded) - expected_logits).norm() < tolerance * expected_logits.norm()


def test_fp64_and_bundle_facts(model_folder: SaveModel) -> None:
    loaded = load(str(model_folder()), precision="fp64", device="cpu")
    assert loaded.compute_dtype == torch.float64 == next(loaded.model.parameters()).dtype
    assert loaded.hidden_size == 64
    assert loaded.tokenizer.vocab_size == 330
    assert loaded.notes == ()
    assert set(loaded.linears()) >= {"model.layers.0.mlp.down_proj", "model.layers.1.self_attn.k_proj"}
    assert not any("lm_head" in path for path in loaded.linears())


def test_texts_of_a_ragged_batch_do_not_see_each_other(model_folder: SaveModel) -> None:
    loaded = load(str(model_folder()), precision="fp64", device="cpu")
    with torch.no_grad():
        together = loaded.hidden_states(IDS, PackedBatch((2, 4)))
        apart = [loaded.hidden_states(part, PackedBatch((len(part),))) for part in IDS.split([2, 4])]
    assert torch.allclose(together, torch.cat(apart), atol=1e-12)


def test_a_tied_model_saved_with_both_copies(model_folder: SaveModel) -> None:
    folder = model_folder(tied=True)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, file)
    loaded = load(str(folder), precision="fp32", device="cpu")
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    tensors["lm_head.weight"] += 1
    save_file(tensors, file)
    with pytest.raises(ModelError, match="tie_word_embeddings"):
        load(str(folder), precision="fp32", device="cpu")


def test_a_tied_model_saved_with_the_output_embedding_only(model_folder: SaveModel) -> None:
    folder = model_folder(tied=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    expected = tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    assert torch.equal(load(str(folder), precision="fp32", device="cpu").model.model.embed_tokens.weight, expected)


def test_missing_and_unused_and_misshapen_tensors(model_folder: SaveModel) -> None:
    folder = model_folder()
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "vision.weight": torch.zeros(2), "model.layers.0.self_attn.rotary_emb.inv_freq": IDS}, file)
    assert load(str(folder), device="cpu").notes == (
        "1 tensors in the model's files are not used by its architecture (vision.weight)",
    )
    save_file({**tensors, "model.norm.weight": torch.zeros(3)}, file)
    with pytest.raises(ModelError, match=r'"model.norm.weight" is \[3\] in the file but \[64\]'):
        load(str(folder), device="cpu")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"lack 1 tensors .*model.layers.1.mlp.up_proj.weight"):
        load(str(folder), device="cpu")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def scramble(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 5000)


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama",')


def edit_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "truncated"),
        (scramble, "truncated or not a safetensors"),
        (only_pickle, "convert them to safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "no \\*.safetensors"),
        (no_tokenizer, "no tokenizer"),
        (broken_tokenizer, "tokenizer in .* cannot be read"),
        (broken_config, "not valid JSON"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (
            lambda f: edit_config(f, model_type="evil", auto_map={"AutoModelForCausalLM": "evil.Model"}),
            "--trust-remote-code",
        ),
        (lambda f: edit_config(f, quantization_config={"quant_method": "awq"}), "already quantised"),
        (lambda f: edit_config(f, model_type="nonsense"), 'config of this "nonsense" model'),
        (lambda f: edit_config(f, model_type="t5"), "encoder-decoder"),
        (lambda f: edit_config(f, hidden_size="wide"), "cannot (read|be built)"),
    ],
)
def test_broken_folders(model_folder: SaveModel, damage: Callable[[Path], None], said: str) -> None:
    folder = model_folder()
    damage(folder)
    with pytest.raises(ModelError, match=said) as caught:
        load(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def test_code_beside_a_model_that_transformers_knows_is_neither_needed_nor_run(
    model_folder: SaveModel, tmp_path: Path
) -> None:
    """As of Phi-3's folders. The classes are transformers' own, whatever the config offers besides."""
    folder, marker = model_folder(), tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    edit_config(folder, auto_map=auto_map, _attn_implementation="some-owner/some-kernel")
    loaded = load(str(folder), device="cpu")
    assert type(loaded.model).__mro__[1].__module__.startswith(("transformers.", "semtune."))
    assert not marker.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused_by_that_name(model_folder: SaveModel) -> None:
    folder = model_folder()
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {
        "tokenizer_class": "Evil",
        "auto_map": {"AutoTokenizer": ["evil.T", None]},
    }
    file.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="--trust-remote-code"):
        load(str(folder), device="cpu")


def test_an_index_that_names_a_missing_file(model_folder: SaveModel) -> None:
    folder = model_folder(max_shard_size="100KB")
    sorted(folder.glob("*.safetensors"))[-1].unlink()
    with pytest.raises(ModelError, match=r"model-.*is missing"):
        load(str(folder), device="cpu")


def test_impossible_options(model_folder: SaveModel) -> None:
    folder = str(model_folder())
    with pytest.raises(OptionError, match='no precision "fp8"'):
        load(folder, precision="fp8", device="cpu")
    with pytest.raises(OptionError, match='no device "quantum"'):
        load(folder, device="quantum")
    with pytest.raises(ModelError, match="no model called"):
        prepare("nothing")
    assert locate_config(folder).hidden_size == 64


def test_loading_holds_the_model_once(tmp_path: Path) -> None:
    """A 96 MB fp32 file loaded as fp32 raises the high-water mark by less than 1.5 times its size."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from semtune.measure.memory import PhaseMeter, kernel_mark_works
from semtune.models.meta_model import build_meta_model, expected_tensors, fill, materialise_buffers
from semtune.models.safetensors_stream import SafetensorsStream
from transformers import LlamaConfig
torch.set_num_threads(1)
sizes = dict(hidden_size=512, intermediate_size=1024, num_hidden_layers=9, num_attention_heads=8, vocab_size=256)
config = LlamaConfig(**sizes)
file = Path(sys.argv[1])
model = build_meta_model(config, torch.float32)
save_file({n: torch.ones(t.shape) for n, t in expected_tensors(model).items()}, file)
meter = PhaseMeter()
with meter.phase("load"):
    model = build_meta_model(config, torch.float32)
    materialise_buffers(model, torch.device("cpu"))
    options = dict(dtype=torch.float32, device=torch.device("cpu"))
    fill(model, SafetensorsStream([file]), **options)
print(kernel_mark_works(), file.stat().st_size, meter.peak_bytes["load"] - meter.runtime_bytes)
"""
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "w.safetensors")], capture_output=True, text=True, check=True
    )
    works, file_bytes, peak_bytes = done.stdout.split()
    assert int(file_bytes) > 90e6
    assert int(peak_bytes) > 0.9 * int(file_bytes)
    if works == "True":
        assert int(peak_bytes) < 1.5 * int(file_bytes)


def test_original_weights_are_those_of_the_files(tiny_model: Path) -> None:
    """Over a base that has only their 4-bit codes, in another order, and for some of the layers."""
    plain, quantised = (load(str(tiny_model), precision=p, device="cpu") for p in ("fp32", "nf4"))
    paths = [path for path in reversed(quantised.linears()) if not path.endswith("k_proj")]
    found = dict(quantised.original_weights(paths))
    assert found.keys() == set(paths)
    assert all(torch.equal(found[path], plain.model.get_submodule(path).weight) for path in paths)
    with pytest.raises(ModelError, match=r"1 layers .*first model.layers.7.mlp.up_proj"):
        list(quantised.original_weights(["model.layers.7.mlp.up_proj"]))
