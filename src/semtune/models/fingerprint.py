"""A digest of a model's files that is cheap for any size, to notice later that they were replaced.

Weights are sampled: of every tensor the name, dtype and shape, and 4 KiB of its bytes (all of a smaller tensor).
Another training of the same architecture changes every tensor or whole ones, so it changes the digest; an edit of a
few single numbers need not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semtune.models.safetensors_stream import read_header

SAMPLED_BYTES = 4096
"""Bytes read of each tensor: half from its start, half from its middle."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
_SAVED_BY = frozenset({"transformers_version", "_name_or_path", "torch_dtype", "dtype", "architectures", "auto_map"})
"""Keys of config.json that say who saved the model, and how, not what it computes."""


def fingerprint(folder: Path, weights: Iterable[Path]) -> dict[str, str]:
    """sha256 digests of the "weights", "config" and "tokenizer" of the model in `folder`. Raises ModelError."""
    return {
        "weights": _weights_digest(weights),
        "config": _config_digest(folder / "config.json"),
        "tokenizer": _files_digest(folder / name for name in _TOKENIZER_FILES),
    }


def _weights_digest(files: Iterable[Path]) -> str:
    """Does not depend on how tensors are divided among files."""
    tensors: dict[str, str] = {}
    for file in files:
        start, header = read_header(file)
        with file.open("rb") as handle:
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
                half = SAMPLED_BYTES // 2
                for offset in (first, max(first + half, (first + last) // 2)):
                    handle.seek(start + offset)
                    digest.update(handle.read(min(half, max(0, last - offset))))
                tensors[name] = digest.hexdigest()
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def _config_digest(file: Path) -> str:
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    kept = {key: value for key, value in config.items() if key not in _SAVED_BY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _files_digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
