"""The hub and the wheel, without a network: what they are asked for, and what their failures say."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import errors

from semtune.approaches import base_model
from semtune.contracts import SourceOptions
from semtune.errors import ModelError, OutputError
from semtune.models import cache, loading, locate
from semtune.models.sources import gguf, pypi, wheels
from semtune.models.sources.hub import HubSource
from semtune.plan import requests
from semtune.specs import resolve, spec_from

DEFAULT_MODEL_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
"""Of the default model's converted weights, as transformers' own conversion and `save_file` wrote them."""
RESPONSE: Any = SimpleNamespace(headers={}, request=None)


def test_a_hub_model(model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(model_folder())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = loading.load("owner/name", precision="fp32", device="cpu", revision="abc")
    assert loaded.hidden_size == 64
    assert (asked["name"], asked["revision"]) == ("owner/name", "abc")
    assert "*.safetensors" in asked["allow_patterns"]
    assert not {"*.py", "*.bin", "*"} & set(asked["allow_patterns"])


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (errors.GatedRepoError("no", response=RESPONSE), "is gated"),
        (errors.RepositoryNotFoundError("no", response=RESPONSE), "no model owner/name on the hub"),
        (errors.RevisionNotFoundError("no", response=RESPONSE), 'no revision "abc"'),
        (errors.LocalEntryNotFoundError("no"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("no"), "cannot be reached"),
        (errors.HfHubHTTPError("503 busy", response=RESPONSE), "503 busy"),
        (TimeoutError("too slow"), "too slow"),
        (errors.HTTPError("connection lost"), "connection lost"),
    ],
)
def test_hub_failures(monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str) -> None:
    def download(name: str, **options: Any) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelError, match=said):
        loading.load("owner/name", revision="abc")


@pytest.fixture
def fake_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Callable[..., Path]) -> Path:
    """A wheel that is pinned as "toy", whose "conversion" copies a tiny model."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "toy-1.0-py3-none-any.whl"
    data = b"GGUF" + bytes(100)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/toy.gguf", data)
        archive.writestr("toy/__init__.py", "raise SystemExit('code of a wheel must never run')")
    pinned_wheel = wheels.Wheel("toy==1.0", wheel.name, sha256(wheel.read_bytes()).hexdigest(), megabytes=1)
    pinned = pypi.WheelModel(
        members=(wheels.Member(pinned_wheel, "toy/toy.gguf"),),
        file="toy.gguf",
        sha256=sha256(data).hexdigest(),
        notes=("a toy",),
    )
    monkeypatch.setitem(pypi.WHEEL_MODELS, "toy", pinned)
    tiny = model_folder()

    def convert(file: Path, target: Path) -> None:
        assert file.read_bytes() == data
        for part in tiny.iterdir():
            (target / part.name).write_bytes(part.read_bytes())

    monkeypatch.setattr(gguf, "_convert", convert)
    return wheel


def test_a_wheel_from_a_folder(fake_wheel: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_WHEELS", str(fake_wheel.parent))
    assert locate.prepare("pypi:toy") == ("a toy",)
    assert fake_wheel.is_file()  # the user's own file stays
    assert not list(private_cache.rglob("*.gguf"))
    assert not list(private_cache.glob("building-*"))
    fake_wheel.unlink()  # from now on the cache suffices
    assert loading.load("pypi:toy", precision="fp32", device="cpu").notes == ("a toy",)


def test_a_wheel_through_pip(fake_wheel: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:5] == ["-P", "-m", "pip", "download"]
        assert {"--no-deps", "toy==1.0"} <= set(command)
        target = Path(command[command.index("-d") + 1]) / fake_wheel.name
        target.write_bytes(fake_wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert locate.prepare("pypi:toy") == ("a toy",)
    assert not list(private_cache.rglob("*.whl"))


def test_a_wheel_that_is_not_the_pinned_one(fake_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMTUNE_WHEELS", str(fake_wheel.parent))
    toy = pypi.WHEEL_MODELS["toy"]
    other = replace(toy, members=(replace(toy.members[0], wheel=replace(toy.members[0].wheel, sha256="0" * 64)),))
    monkeypatch.setitem(pypi.WHEEL_MODELS, "toy", other)
    with pytest.raises(ModelError, match="not the one semtune was tested with"):
        locate.prepare("pypi:toy")


@pytest.mark.parametrize(
    ("stderr", "said"),
    [("No module named pip", "needs pip"), ("WARNING: x\nERROR: No matching distribution", "No matching distribution")],
)
def test_pip_failures(fake_wheel: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, said: str) -> None:
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError, match=f"{said}.*SEMTUNE_WHEELS"):
        locate.prepare("pypi:toy")


def test_an_unknown_wheel_model() -> None:
    with pytest.raises(ModelError, match='did you mean "smollm2-135m-instruct"'):
        locate.prepare("pypi:smollm2-135m")


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"PK" + bytes(500))
    with pytest.raises(ModelError, match="not a GGUF file"):
        loading.load(str(file))


def test_a_corrupt_gguf(tmp_path: Path, private_cache: Path) -> None:
    """Through the real converter, in its own process."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (5).to_bytes(8, "little") + b"\x07" * 60)
    with pytest.raises(ModelError, match=r"model.gguf could not be read as a model \(.*\)") as caught:
        loading.load(str(file))
    assert "Traceback" not in str(caught.value)
    assert not list((private_cache / "gguf").glob("*"))


def test_a_cache_entry_appears_whole_or_not_at_all(private_cache: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise ModelError("no")

    def overtaken(folder: Path) -> None:
        (folder / "ours").touch()
        winner = private_cache / "kind" / "entry"
        winner.mkdir(parents=True)
        (winner / "theirs").touch()

    with pytest.raises(ModelError):
        cache.cached("kind/entry", fails)
    assert not (private_cache / "kind").exists()
    assert [file.name for file in cache.cached("kind/entry", overtaken).iterdir()] == ["theirs"]
    assert [file.name for file in cache.cached("kind/entry", fails).iterdir()] == ["theirs"]
    assert not list(private_cache.glob("building-*"))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="SEMTUNE_CACHE"):
        cache.cached("a", lambda folder: None)


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    """A Llama of 1 block in llama.cpp's format, with 256 + 2 one-byte tokens."""
    import gguf as gguf_library

    file, hidden, mlp, size = tmp_path / "tiny.gguf", 32, 64, 258
    writer = gguf_library.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(size)
    shapes = {"token_embd": (size, hidden), "output_norm": (hidden,), "blk.0.attn_norm": (hidden,)}
    shapes |= {f"blk.0.attn_{name}": (hidden, hidden) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_norm": (hidden,), "blk.0.ffn_gate": (mlp, hidden), "blk.0.ffn_up": (mlp, hidden)}
    shapes |= {"blk.0.ffn_down": (hidden, mlp)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_is_planned_without_being_converted(
    tiny_gguf: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = 258 * 32 + 3 * 32 + 4 * 32 * 32 + 3 * 32 * 64
    assert locate.conversion_bytes(str(tiny_gguf)) == 404_000_000  # the weights are streamed, and it has no vocabulary
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "LAYOUTS", {})  # transformers converts it
        assert locate.conversion_bytes(str(tiny_gguf)) == 614_000_000 + round(1.16 * 4 * numbers)
    spec = resolve(
        spec_from({"task": "practice", "model": str(tiny_gguf), "max_length": 32, "targets": ("q_proj",)}, "the test")
    )
    _, plan = requests.plan_run(spec, requests.Data(), 300_000_000)
    assert plan.peak_bytes["load"] == 300_000_000 + locate.conversion_bytes(str(tiny_gguf))
    assert plan.peak_bytes["train"] < plan.peak_bytes["load"]
    assert not list(private_cache.rglob("*.safetensors"))
    monkeypatch.setattr(base_model, "available_memory_bytes", lambda: 300_000_000)
    with pytest.raises(ModelError, match=r"Converting tiny.gguf takes about 0.4 GB once and 0.3 GB are free"):
        base_model.check_conversion(spec)


@pytest.mark.slow
def test_the_default_model_against_ggufs_own_dequantisation(
    wheel: Path, tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf as gguf_library

    monkeypatch.setenv("SEMTUNE_WHEELS", str(wheel.parent))
    loaded = loading.load("default", precision="fp32", device="cpu")
    (converted,) = private_cache.glob("gguf/*/model.safetensors")
    with converted.open("rb") as handle:  # the bits behind all published figures
        assert hashlib.file_digest(handle, "sha256").hexdigest() == DEFAULT_MODEL_SHA256
    with zipfile.ZipFile(wheel) as archive:
        file = archive.extract(pypi.WHEEL_MODELS["smollm2-135m-instruct"].members[0].path, tmp_path)
    stored = {tensor.name: tensor for tensor in gguf_library.GGUFReader(file).tensors}

    def oracle(name: str) -> torch.Tensor:
        return torch.from_numpy(gguf_library.quants.dequantize(stored[name].data, stored[name].tensor_type).copy())

    model = loaded.model.model
    assert torch.equal(model.embed_tokens.weight, oracle("token_embd.weight"))
    assert torch.equal(model.norm.weight, oracle("output_norm.weight"))
    for index in (0, 17, 29):
        layer = model.layers[index]
        assert torch.equal(layer.mlp.down_proj.weight, oracle(f"blk.{index}.ffn_down.weight"))
        assert torch.equal(layer.self_attn.v_proj.weight, oracle(f"blk.{index}.attn_v.weight"))
        # llama.cpp rotates neighbouring pairs, transformers halves: rows of a head are interleaved in the file.
        for projection, heads in (("q", 9), ("k", 3)):
            rows = oracle(f"blk.{index}.attn_{projection}.weight")
            halves = rows.view(heads, 32, 2, 576).transpose(1, 2).reshape(heads * 64, 576)
            assert torch.equal(getattr(layer.self_attn, f"{projection}_proj").weight, halves)
    text = "In 2021,  5 naïve cafés…"
    assert b"".join(loaded.tokenizer.token_bytes()[i] for i in loaded.tokenizer._tokenise(text)) == text.encode()
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(Path(file).read_bytes()[:50_000_000])
    with pytest.raises(ModelError, match="could not be read as a model"):
        loading.load(str(truncated))


def test_without_a_home_the_hubs_downloads_go_to_semtunes_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hub's library would make a folder called "~" where the command runs."""
    places: list[Any] = []

    def snapshot_download(name: str, *, cache_dir: Any = None, **_: Any) -> str:
        places.append(cache_dir)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    source = HubSource("owner/name", SourceOptions())
    source.tokenizer_folder()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache/huggingface/hub")
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path / "mine"))
    source.tokenizer_folder()
    assert places == [None, tmp_path / "mine" / "hub"]
