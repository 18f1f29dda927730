"""What a result depends on beside its spec: data, the model's files, other files, and semtune's own code."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from semtune.errors import SemtuneError
from semtune.measure.machine import package_versions
from semtune.records import Example, RunSpec, TargetSpace, to_plain
from semtune.registry import APPROACHES
from semtune.runtime.file_digest import file_digest
from semtune.runtime.files import expanded
from semtune.runtime.sources import sources_digest

MODEL_FILES = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab.json",
    "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.py",
)  # fmt: skip
"""The files of a model's folder that decide what it computes."""
WHOLE_BYTES = 64 << 20
"""Of larger files the digest counts, which is remembered; of others the content."""
SAMPLES, SAMPLE_BYTES = 32, 64 << 10
"""Evenly spread pieces of a larger file, all that earlier versions read of it."""
GIVEN_FILES = ("knowledge", "prices")
"""Fields of a RunSpec that name a file of the user's own, beside its data and its model."""
_DIGITS = 16


def data_fingerprint(space: TargetSpace, splits: Mapping[str, Sequence[Example]]) -> str:
    """16 hexadecimal digits over the label space and every example of the splits, in their order."""
    found = hashlib.sha256(json.dumps([space.kind, list(space.labels)]).encode("ascii"))
    for split in sorted(splits):
        for example in splits[split]:
            row = [split, example.id, example.text, to_plain(example.target)]
            row += [] if example.date is None else [example.date]
            found.update(json.dumps(row, default=str).encode("ascii") + b"\n")
    return found.hexdigest()[:_DIGITS]


def model_fingerprint(spec: RunSpec, *, sampled: bool = False) -> str | None:
    """16 hexadecimal digits over names, sizes and contents of the model's files; None: no model, or it is not here
    (but behind a server, say).

    Times of files do not count. Imports torch; the hub is asked only where the run would ask it.
    sampled: the fingerprint that earlier versions wrote, which knows large files by samples alone.
    """
    if "model" not in APPROACHES.get(spec.approach).uses or spec.endpoint is not None:
        return None
    from semtune.contracts import SourceOptions
    from semtune.models.naming import resolve, source_of

    try:
        file = Path(resolve(spec.model).reference)
        if file.is_file():  # the conversion that is made of it has nothing that this file has not
            return _files_fingerprint("", [file], sampled=sampled)
        source = source_of(spec.model, SourceOptions(spec.seed, spec.trust_remote_code, spec.revision))
        folder = source.tokenizer_folder()  # every source keeps the weights of a prepared model beside its tokenizer
        name = spec.model if source.borrows_tokenizer else ""
        return _files_fingerprint(name, _model_files(folder), sampled=sampled)
    except (SemtuneError, OSError):
        return None


def changed_files(then: Mapping[str, str] | None, now: Mapping[str, str] | None) -> set[str]:
    """The options of `given_files` whose file is not as it was; none where the fingerprints are not on record."""
    if then is None or now is None:
        return set()
    return {name for name in {*then, *now} if then.get(name) != now.get(name)}


def given_files(spec: RunSpec) -> dict[str, str]:
    """16 hexadecimal digits over the content of each of `GIVEN_FILES` that the spec names and that is here."""
    found: dict[str, str] = {}
    for name in GIVEN_FILES:
        path = getattr(spec, name)
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                found[name] = file_digest(expanded(path))[:_DIGITS]
    return found


@functools.cache
def code_version() -> str:
    """semtune's version, and 8 hexadecimal digits over its source files: "0.1.0+1a2b3c4d"."""
    return f"{package_versions().get('semtune', 'unknown')}+{sources_digest(Path(__file__).parents[1])[:8]}"


def now() -> str:
    """The present time in UTC, to the second: "2026-11-25T12:00:00Z"."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _model_files(folder: Path) -> list[Path]:
    return sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()})


def _files_fingerprint(name: str, files: Iterable[Path], *, sampled: bool) -> str:
    found = hashlib.sha256(name.encode("utf-8", "surrogateescape"))
    for file in files:
        size = file.stat().st_size
        found.update(f"\n{file.name} {size}\n".encode("utf-8", "surrogateescape"))
        if size <= WHOLE_BYTES:
            found.update(file.read_bytes())
        elif sampled:
            _add_samples(found, file, size)
        else:
            found.update(file_digest(file).encode("ascii"))
    return found.hexdigest()[:_DIGITS]


def _add_samples(found: hashlib._Hash, file: Path, size: int) -> None:
    with file.open("rb") as handle:
        for index in range(SAMPLES):
            handle.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            found.update(handle.read(SAMPLE_BYTES))
