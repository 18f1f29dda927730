"""Reads the tensors of safetensors files, one at a time and without mapping the file; writes one in pieces.

The safetensors library maps the whole file into memory, and the kernel counts mapped pages that were touched as
resident: a model would be measured twice. So the library only checks the header here, and each tensor is read into
memory of its own. Format: 8 bytes little-endian header length, a JSON header name → {dtype, shape, data_offsets}, then
the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import io
import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open

from semtune.errors import ModelError

INDEX_NAME = "model.safetensors.index.json"

_OWN_PAGES_BYTES = 1 << 18

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsStream:
    """All tensors of `files`, in file order, in the files' own dtypes.

    Raises:
        ModelError: a file is missing, truncated or corrupt, or has a dtype that semtune does not read.
    """

    def __init__(self, files: list[Path]) -> None:
        self._headers = [(file, *read_header(file)) for file in files]

    def names(self) -> list[str]:
        return [name for _, _, header in self._headers for name in header]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for file, data_start, header in self._headers:
            with file.open("rb") as handle:
                for name, entry in header.items():
                    yield name, _read_tensor(handle, data_start, entry, file, name)


def find_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model in `folder`.

    Raises:
        ModelError: there are none, or several without an index.
    """
    index = folder / INDEX_NAME
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index.name} of the model is not a valid index; download the model again.") from error
        return [folder / Path(name).name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    whole = folder / "model.safetensors"
    if whole in files:
        return [whole]
    if len(files) == 1:
        return files
    if files:
        raise ModelError(f"{folder} has {len(files)} safetensors files but no {INDEX_NAME}; download it again.")
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise ModelError(
            f"{folder} has only pickle files as weights, which can run code when opened; convert them to safetensors "
            "(load the model with transformers and call save_pretrained) and give that folder."
        )
    raise ModelError(f"{folder} has no *.safetensors file; give a folder in transformers' format.")


def read_header(file: Path) -> tuple[int, dict[str, Any]]:
    """The data's offset in bytes from the file's start, and the tensors' entries in the order of their bytes.

    Raises ModelError: the file is missing, truncated or corrupt, or has a dtype that semtune does not read.
    """
    if not file.is_file():
        raise ModelError(f"The model's file {file.name} is missing; download the model again.")
    try:
        with safe_open(str(file), framework="pt"):  # the library's own check: lengths, overlaps, no gaps
            pass
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{file.name} is truncated or not a safetensors file ({error}); download it again.") from error
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise ModelError(f'{file.name} stores "{name}" as {entry["dtype"]}; give a model in fp32, fp16 or bf16.')
    return 8 + length, dict(entries)


def write_fp32(
    file: Path, shapes: Mapping[str, tuple[int, ...]], pieces: Callable[[str], Iterable[npt.NDArray[np.float32]]]
) -> None:
    """Write tensors in fp32, byte for byte as the library's `save_file` does; one piece is in memory at a time.

    Args:
        shapes: of each tensor, by name.
        pieces: the numbers of the tensor of a name, in pieces that follow each other in the tensor.

    Raises:
        ValueError: the pieces of a tensor are not of its size.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as handle:
        handle.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in sorted(shapes):
            written = 0
            for piece in pieces(name):
                handle.write(np.ascontiguousarray(piece, dtype="<f4").data)
                written += piece.size
            if written != math.prod(shapes[name]):
                raise ValueError(f'"{name}" has {written} numbers, not {math.prod(shapes[name])}')


def _read_tensor(
    handle: io.BufferedReader, data_start: int, entry: dict[str, Any], file: Path, name: str
) -> torch.Tensor:
    start, end = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=dtype)
    # Read as bytes and reinterpreted, because numpy has no bf16 to read into.
    buffer = _allocate(end - start)
    handle.seek(data_start + start)
    if handle.readinto(buffer.numpy().data) != end - start:
        raise ModelError(f'{file.name} ends inside "{name}"; download it again.')
    return buffer.view(dtype).reshape(shape)


def _allocate(size_bytes: int) -> torch.Tensor:
    """uint8 (size_bytes,), in pages of its own where the system offers them.

    Most tensors live only until they are converted. On malloc's heap the gaps that they left stayed resident: up to
    100 MB more at the peak of a 270 MB model, and not the same from run to run. Mapped pages return to the system at
    once.
    """
    if size_bytes < _OWN_PAGES_BYTES or not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.empty(size_bytes, dtype=torch.uint8)
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=torch.uint8)
