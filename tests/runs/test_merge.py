"""A finished run merged into a model folder: what it holds, who reads it, and what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from semtune.approaches.export import check_export, export
from semtune.approaches.tuned_model import TunedModel
from semtune.contracts import Located, SourceOptions
from semtune.errors import MergeRefusedError, ModelError, OptionError, OutputError
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.fake_model import build_fake_model
from semtune.models.loaded import TransformersModel
from semtune.models.loading import load
from semtune.models.locate import locate, locate_config
from semtune.models.saving import check_saveable, save_model
from semtune.nn.linear import Int4Linear
from semtune.progress import NoProgress
from semtune.records import RunSpec, TargetSpace, TaskOptions
from semtune.runs.folder import RunFolder
from semtune.runs.load import load_run
from semtune.runs.merge import merge_run
from semtune.runs.runner import run
from semtune.specs import resolve, spec_from, write_spec

MOODS = TargetSpace("single_label", ("good", "bad"))


def tuned_model(model: Path, method: str, readout: str = "generate", **options: object) -> TunedModel:
    """A model with a method attached, away from the start."""
    options = {"learning_rate": 1e-3, **options}
    spec = RunSpec("practice", model=str(model), method=method, readout=readout, device="cpu", method_options=options)
    tuned = TunedModel.build(resolve(spec), MOODS)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tuned.method.trainable(tuned.loaded.model).values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return tuned


@pytest.fixture
def in_4_bits(tiny_model: Path, tmp_path: Path) -> Path:
    """The folder of a model that was merged in 4 bits."""
    export(tuned_model(tiny_model, "qa-lora"), tmp_path / "merged", dequantize=False)
    return tmp_path / "merged"


def ids() -> Tensor:
    return torch.randint(1, 250, (2, 12), generator=torch.Generator().manual_seed(5))


def logits(loaded: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = loaded.model(input_ids=ids()).logits
    return found


def test_a_run_of_qa_lora_stays_in_4_bits_on_disk_and_answers_the_same(
    tiny_model: Path, reviews: Path, tmp_path: Path
) -> None:
    options = TaskOptions(data=str(reviews), text_column="comment", label_column="mood")
    plain = {"task": "table", "model": str(tiny_model), "method": "qa-lora", "epochs": 1, "device": "cpu"}
    run(
        spec_from({**plain, "learning_rate": 0.05, "task_options": options}, "the test"), tmp_path / "run", NoProgress()
    )
    assert merge_run(tmp_path / "run", tmp_path / "merged"), "a head has parameters of its own"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".merged")]
    tuned = load_run(tmp_path / "run")
    unmerged = logits(tuned.model.loaded)
    plain_base = load(str(tiny_model), precision="int4", device="cpu")
    assert (unmerged - logits(plain_base)).abs().max() > 1e-2, "tuning must have changed something"

    merged = load(str(tmp_path / "merged"), precision="int4", device="cpu")
    layers = merged.linears()
    assert len(layers) == 14 and all(isinstance(layer, Int4Linear) for layer in layers.values())
    tolerance = 3e-2 if merged.compute_dtype == torch.bfloat16 else 1e-4
    assert (logits(merged) - unmerged).abs().max() < tolerance * unmerged.abs().max()
    tuned.model.method.merge(tuned.model.loaded.model)
    assert torch.equal(logits(merged), logits(tuned.model.loaded)), "the same model, to the bit"

    stored, start = load_file(tmp_path / "merged" / "model-int4.safetensors"), plain_base.model.state_dict()
    assert stored.keys() == start.keys()
    for name in start:
        assert torch.equal(stored[name], start[name]) == (not name.endswith(".zeros")), name
    ours, theirs = (
        load_file(folder / "head.safetensors")
        for folder in (tmp_path / "merged" / "readout", tmp_path / "run" / "adapter")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_transformers_refuses_a_folder_in_4_bits(in_4_bits: Path) -> None:
    with warnings.catch_warnings(), pytest.raises(OSError, match=r"model\.safetensors"):
        warnings.simplefilter("ignore")
        AutoModelForCausalLM.from_pretrained(in_4_bits)


def test_a_folder_in_4_bits_is_a_base_for_further_tuning(in_4_bits: Path, tmp_path: Path) -> None:
    again = tuned_model(in_4_bits, "qa-lora")
    export(again, tmp_path / "twice", dequantize=False)
    config = json.loads((tmp_path / "twice" / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "semtune", "precision": "int4"}
    assert not [key for key in config if key.startswith("semtune")]
    once, twice = (load(str(folder), precision="int4", device="cpu") for folder in (in_4_bits, tmp_path / "twice"))
    for path, layer in once.linears().items():
        assert torch.equal(layer.codes, twice.model.get_submodule(path).codes)
    assert not torch.equal(logits(once), logits(twice))


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "nf4"])
def test_a_folder_in_4_bits_loads_in_no_other_precision(precision: str, in_4_bits: Path) -> None:
    with pytest.raises(OptionError, match=r"stored in int4.*--precision int4"):
        load(str(in_4_bits), precision=precision, device="cpu")


def test_a_plan_builds_the_same_layers(in_4_bits: Path) -> None:
    config = locate_config(str(in_4_bits))

    def build(precision: str) -> TransformersModel:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return build_fake_model(
                config, name="", precision=precision, dtype=torch.float32, device=torch.device("cpu"),
                stored_dtype=torch.float32, tokenizer=ApproximateTokenizer(330),
            )  # fmt: skip

    real, fake = load(str(in_4_bits), precision="int4", device="cpu").model, build("int4").model
    described = [{name: (t.shape, t.dtype) for name, t in model.state_dict().items()} for model in (real, fake)]
    assert described[0].keys() == described[1].keys()
    for name, (shape, dtype) in described[0].items():
        assert described[1][name][0] == shape
        assert described[1][name][1] == dtype or name.endswith("norm.weight") or "embed" in name or "head" in name
    with pytest.raises(OptionError, match="stored in int4"):
        build("bf16")


def test_dequantized_it_is_a_folder_of_transformers(tiny_model: Path, tmp_path: Path) -> None:
    export(tuned_model(tiny_model, "qa-lora"), tmp_path / "plain", dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", dtype=torch.float32)
    ours = tuned_model(tiny_model, "qa-lora")
    ours.method.merge(ours.loaded.model)
    for path, layer in ours.loaded.linears().items():
        assert torch.equal(theirs.get_submodule(path).weight, layer.dequantize(torch.bfloat16).float())
    with torch.no_grad():
        found = theirs(input_ids=ids()).logits
    expected = logits(ours.loaded)
    assert (found - expected).abs().max() < 5e-2 * expected.abs().max()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("qlora", {}),
        ("qdora", {}),
        ("ia3", {"precision": "nf4"}),
        ("lora", {"precision": "int4", "targets": ("q_proj", "v_proj")}),
        ("qlora", {"start": "pissa", "dropout": 0.0}),
        ("qlora", {"start": "loftq"}),
    ],
    ids=["qlora", "qdora", "ia3", "lora-int4", "pissa", "loftq"],
)
def test_adapters_over_4_bits_merge_into_plain_weights(
    method: str, options: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    tuned = tuned_model(tiny_model, method, **options)
    expected = logits(tuned.loaded)
    with pytest.raises(MergeRefusedError, match="semtune merge --dequantize"):
        export(tuned, tmp_path / "merged", dequantize=False)
    torch.testing.assert_close(logits(tuned.loaded), expected, rtol=0, atol=0)
    export(tuned, tmp_path / "merged", dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert theirs.dtype == torch.bfloat16
    with torch.no_grad():
        found = theirs.float()(input_ids=ids()).logits
    assert (found - expected).abs().max() < 3e-2 * expected.abs().max()


@pytest.mark.parametrize("method", ["houlsby", "prefix"])
def test_what_never_merges_is_refused_over_4_bits_too(method: str, tiny_model: Path, tmp_path: Path) -> None:
    tuned = tuned_model(tiny_model, method, precision="nf4")
    with pytest.raises(MergeRefusedError):
        export(tuned, tmp_path / "out", dequantize=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["lora", "full", "bitfit", "ia3", "ln-tuning"])
def test_plain_weights_are_a_folder_of_transformers(method: str, tiny_model: Path, tmp_path: Path) -> None:
    tuned = tuned_model(tiny_model, method, precision="fp32")
    expected = logits(tuned.loaded)
    assert not export(tuned, tmp_path / "merged", dequantize=False)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert theirs.config.use_cache and theirs.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "</s>"
    with torch.no_grad():
        found = theirs(input_ids=ids()).logits
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_what_is_refused_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    tuned = tuned_model(tiny_model, "qa-lora")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for folder in (tmp_path / "full", tmp_path / "full" / "letter.txt"):
        with pytest.raises(OutputError, match="holds something already"):
            check_export(tuned.spec, folder)
    with pytest.raises(OutputError, match="cannot be written"):
        export(tuned, tmp_path / "full" / "letter.txt" / "below", dequantize=False)
    with pytest.raises(ModelError, match="is not a run folder"):
        merge_run(tmp_path / "full", tmp_path / "out")
    qlora = tuned_model(tiny_model, "qlora")
    with pytest.raises(ModelError, match="--dequantize"):
        save_model(qlora.loaded.model, locate(str(tiny_model), SourceOptions()), "nf4", tmp_path / "out")
    with pytest.raises(MergeRefusedError, match="4-bit weights"):
        export(qlora, tmp_path / "out", dequantize=False)
    with pytest.raises(ModelError, match="random weights"):
        check_saveable(Located(None, tmp_path, list, fold_vocabulary=True), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_run_without_tuned_weights_is_refused(tmp_path: Path) -> None:
    spec = spec_from({"task": "practice", "approach": "baseline", "baseline": "top-1"}, "the test")
    write_spec(spec, RunFolder(tmp_path / "run").spec)
    with pytest.raises(MergeRefusedError, match="tunes no weights"):
        merge_run(tmp_path / "run", tmp_path / "out")


def test_a_precision_that_this_version_does_not_read(in_4_bits: Path) -> None:
    file = in_4_bits / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "quantization_config": {"quant_method": "semtune", "precision": "int2"}}))
    with pytest.raises(ModelError, match='"int2", which this version'):
        load(str(in_4_bits), precision="int4", device="cpu")
    file.write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match="already quantised"):
        load(str(in_4_bits), precision="int4", device="cpu")


@pytest.fixture
def bf16_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with its file in bf16."""
    folder = tmp_path / "bf16"
    shutil.copytree(tiny_model, folder)
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_other_weights_of_a_folder_in_4_bits_keep_the_bf16_of_the_base(bf16_model: Path, tmp_path: Path) -> None:
    tuned = tuned_model(bf16_model, "qa-lora")
    tuned.method.merge(tuned.loaded.model)
    expected = logits(tuned.loaded)
    export(tuned_model(bf16_model, "qa-lora"), tmp_path / "merged", dequantize=False)
    stored = load_file(tmp_path / "merged" / "model-int4.safetensors")
    assert {t.dtype for name, t in stored.items() if "embed" in name or "norm" in name} == {torch.bfloat16}
    assert {t.dtype for name, t in stored.items() if name.endswith(".zeros")} == {torch.float32}
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    assert torch.equal(logits(load(str(tmp_path / "merged"), precision="int4", device="cpu")), expected)


def test_plain_weights_have_one_dtype(bf16_model: Path, tmp_path: Path) -> None:
    """A machine without bf16 hardware keeps frozen weights in bf16 and merged ones in fp32."""
    tuned = tuned_model(bf16_model, "lora", targets=("q_proj",))
    expected = logits(tuned.loaded)
    export(tuned, tmp_path / "merged", dequantize=False)
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    assert len({tensor.dtype for tensor in stored.values()}) == 1
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        found = theirs(input_ids=ids()).logits
    tolerance = 3e-2 if theirs.dtype == torch.bfloat16 else 1e-4
    assert (found - expected).abs().max() < tolerance * expected.abs().max()
