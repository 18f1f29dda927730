"""Files that a kept run of a study depends on beside its data: its model's, its knowledge, its prices."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from semtune.progress import NoProgress
from semtune.records import RunSpec, TaskOptions
from semtune.runs import fingerprints
from semtune.runs.fingerprints import given_files, model_fingerprint
from semtune.runs.folder import write_json
from semtune.runs.outcome import unmeasured
from semtune.runs.runner import run
from semtune.runtime import file_digest
from semtune.specs import resolve
from semtune.study.kept import Judge, Verdict
from semtune.study.sweep_rows import fold_run


def test_a_changed_model_is_run_again(tiny_model: Path, reviews: Path, tmp_path: Path) -> None:
    """Only the weights differ; their file has the same size."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    spec = resolve(RunSpec("practice", model=str(folder)))
    before = model_fingerprint(spec)
    assert before is not None and model_fingerprint(spec) == before
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] + 1
    size = (folder / "model.safetensors").stat().st_size
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert (folder / "model.safetensors").stat().st_size == size
    assert model_fingerprint(spec) not in (before, None)
    assert model_fingerprint(resolve(RunSpec("practice", model=str(tmp_path / "gone")))) is None
    file = tmp_path / "model.gguf"
    found = set()
    for content in (b"GGUF one", b"GGUF two"):
        file.write_bytes(content)
        found.add(model_fingerprint(resolve(RunSpec("practice", model=str(file)))))
    assert len(found) == 2 and None not in found, "a file that was replaced, converted or not"
    assert model_fingerprint(resolve(RunSpec("practice", approach="baseline", baseline="top-1"))) is None


@pytest.fixture
def large_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files from 1 KiB on are large ones."""
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 1 << 10)
    monkeypatch.setattr(fingerprints, "SAMPLES", 2)
    monkeypatch.setattr(fingerprints, "SAMPLE_BYTES", 16)
    monkeypatch.setattr(file_digest, "REMEMBERED_BYTES", 1 << 10)
    monkeypatch.setenv("SEMTUNE_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("large_files")
def test_an_edit_anywhere_in_a_large_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(4000))
    spec = resolve(RunSpec("practice", model=str(file)))
    before, sampled = model_fingerprint(spec), model_fingerprint(spec, sampled=True)
    with file.open("r+b") as handle:
        handle.seek(1000)
        handle.write(b"edited")
    assert model_fingerprint(spec, sampled=True) == sampled
    assert model_fingerprint(spec) not in (None, before, sampled)


@pytest.mark.usefixtures("large_files")
def test_the_digest_of_a_large_file_is_remembered_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, reads = tmp_path / "weights", []
    plain = file_digest._digest
    monkeypatch.setattr(file_digest, "_digest", lambda path: reads.append(path) or plain(path))
    file.write_bytes(b"a" * 2000)
    first = file_digest.file_digest(file)
    assert file_digest.file_digest(file) == first and len(reads) == 2, "what was just written may be written again"
    monkeypatch.setattr(file_digest, "SETTLED_SECONDS", -1.0)
    assert {file_digest.file_digest(file) for _ in range(3)} == {first} and len(reads) == 3
    kept = file.stat()
    file.write_bytes(b"b" * 2000)
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert file_digest.file_digest(file) != first, "its time was set back"


@pytest.mark.usefixtures("large_files")
def test_results_of_earlier_versions_stand_by_their_samples(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(4000))
    spec = resolve(RunSpec("practice", model=str(tmp_path / "model.gguf")))
    for known, stands in (
        (model_fingerprint(spec), True),
        (model_fingerprint(spec, sampled=True), True),
        ("00", False),
    ):
        result = unmeasured(spec, "ok", model_fingerprint=known)
        assert Judge("", {})._same_model(result, spec) == stands


@pytest.fixture
def spec(tiny_model: Path, reviews: Path, tmp_path: Path) -> RunSpec:
    """A run that looks things up in know.md."""
    (tmp_path / "know.md").write_text("- soup is warm\n", encoding="utf-8")
    data = TaskOptions(data=str(reviews), text_column="comment", label_column="mood", test_fraction=0.7)
    return RunSpec(
        "table", task_options=data, approach="prompted", strategy="zero-shot", model=str(tiny_model), device="cpu",
        knowledge=str(tmp_path / "know.md"), strategy_options={"answer": "rank"},
    )  # fmt: skip


def test_changed_knowledge_is_run_again(spec: RunSpec, tmp_path: Path) -> None:
    result = run(spec, tmp_path / "run", NoProgress())
    spec = resolve(spec)

    def verdict() -> Verdict:
        return Judge(str(result.data_fingerprint), {}).verdict(spec, tmp_path / "run")

    assert verdict().result is not None
    (tmp_path / "know.md").write_text("- soup is cold\n", encoding="utf-8")
    assert verdict() == Verdict(None, "its knowledge has changed")
    fold = replace(spec, fold="1/3")
    of_cold = fold_run(fold, result, None)
    (tmp_path / "know.md").write_text("- soup is warm\n", encoding="utf-8")
    assert of_cold.identity != fold_run(fold, result, None).identity, "a sweep's runs too"
    plain = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "run" / "result.json", {**plain, "file_fingerprints": None})
    found = verdict().result
    assert found is not None and "its knowledge is that of now is not on record" in str(found.kept_from)
    write_json(tmp_path / "run" / "result.json", {**plain, "file_fingerprints": given_files(spec) | {"prices": "00"}})
    found = verdict().result
    assert found is not None and "with other prices" in str(found.kept_from)
