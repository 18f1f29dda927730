"""The weights of a GGUF file, dequantised in pieces, under the names and in the layout of transformers' classes.

A piece is a few rows of one tensor, so memory holds a few megabytes of the model at a time; transformers' own loading
holds all of it in fp32. The gguf library dequantises, in fp32, and knows llama.cpp's names of tensors; what llama.cpp's
converter changes in the numbers themselves is undone here, per architecture:
https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py. Only architectures whose result was compared
with transformers' own, tensor by tensor, are in `LAYOUTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from semtune.errors import ModelError
from semtune.models.meta_model import expected_tensors

Numbers = npt.NDArray[np.float32]

_PIECE_NUMBERS = 1 << 18
"""Numbers of a piece: 1 MB in fp32. Temporaries of 4 MB leave the heap, and their new pages took twice the time."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is undone in a tensor. `undo` takes rows (rows, columns), or a whole vector (rows,), and keeps the shape."""

    undo: Callable[[Numbers], Numbers]
    row_multiple: int = 1
    """Rows that must be undone together; every piece has a multiple of them."""


def _as_stored(name: str, shape: tuple[int, ...], config: Any) -> Layout:
    return Layout(lambda rows: rows)


def _llama(name: str, shape: tuple[int, ...], config: Any) -> Layout:
    """llama.cpp rotates neighbouring rows of a head, transformers a row of each half: queries and keys are reordered.

    Raises ModelError where the rows are no multiple of the heads.
    """
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return _as_stored(name, shape, config)
    if shape[0] % (2 * heads):
        raise ModelError(f'the tensor "{name}" has {shape[0]} rows, which are not divided by its {heads} heads')
    head_rows = shape[0] // heads

    def halves(rows: Numbers) -> Numbers:
        pairs = rows.reshape(-1, head_rows // 2, 2, *rows.shape[1:])  # (heads, pairs, 2, ...)
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)

    return Layout(halves, head_rows)


def _gemma(name: str, shape: tuple[int, ...], config: Any) -> Layout:
    """Gemma multiplies by 1 + w; llama.cpp stores the sum as the norm's weight."""
    if name.endswith("norm.weight"):
        return Layout(lambda rows: rows - np.float32(1))
    return _as_stored(name, shape, config)


LAYOUTS: Mapping[str, Callable[[str, tuple[int, ...], Any], Layout]] = {
    "llama": _llama,
    "qwen2": _as_stored,
    "qwen3": _as_stored,
    "gemma3": _gemma,
}
"""A GGUF file's `general.architecture` -> the layout of each of its tensors."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in the file."""

    name: str
    shape: tuple[int, ...]
    """As transformers has it; the file counts dimensions from the other end."""
    kind: Any
    """The library's `GGMLQuantizationType`."""
    start: int
    size_bytes: int


class GgufWeights:
    """The tensors of the GGUF `file` that `model`, on the meta device, expects.

    Raises:
        ModelError: the file has no tensor for one of the model's, or one of another shape, or is truncated.
    """

    def __init__(self, file: Path, reader: Any, model: nn.Module) -> None:
        """`reader`: the library's `GGUFReader` of the file."""
        self._file = file
        architecture = architecture_of(reader)
        stored = {tensor.name: tensor for tensor in map(_stored, reader.tensors)}
        config: Any = model.config
        names = _names(model, architecture)
        self._tensors: dict[str, tuple[_Stored, Layout]] = {}
        for name, expected in expected_tensors(model).items():
            tensor = stored.pop(names[name] or "", None)
            if tensor is None:
                raise ModelError(f'it has no tensor for "{name}"')
            if tensor.shape != tuple(expected.shape):
                raise ModelError(f'its tensor "{tensor.name}" is {tensor.shape}, not {tuple(expected.shape)}')
            self._tensors[name] = tensor, LAYOUTS[architecture](tensor.name, tensor.shape, config)
        self.unused = sorted(stored)
        """Names of the file's tensors that the model has no place for."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each tensor, by the model's name for it."""
        return {name: tensor.shape for name, (tensor, _) in self._tensors.items()}

    def pieces(self, name: str) -> Iterator[Numbers]:
        """The tensor `name` in fp32, in pieces of whole rows. Raises ModelError: the file is truncated."""
        tensor, layout = self._tensors[name]
        vector = len(tensor.shape) == 1
        rows, columns = (1, tensor.shape[0]) if vector else (tensor.shape[0], math.prod(tensor.shape[1:]))
        row_bytes = tensor.size_bytes // rows
        step = max(1, _PIECE_NUMBERS // columns // layout.row_multiple) * layout.row_multiple
        with self._file.open("rb") as handle:
            handle.seek(tensor.start)
            for first in range(0, rows, step):
                count = min(step, rows - first)
                piece = _dequantised(_read(handle, count * row_bytes, tensor.name), tensor.kind)
                yield layout.undo(piece if vector else piece.reshape(count, columns))


def architecture_of(reader: Any) -> str:
    """The `general.architecture` of a `GGUFReader`; "" where the file names none."""
    field = reader.get_field("general.architecture")
    return "" if field is None else str(field.contents())


def _names(model: nn.Module, architecture: str) -> dict[str, str | None]:
    """The model's names of its tensors -> llama.cpp's; None: the library knows none."""
    import gguf

    key = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    config: Any = model.config
    table = gguf.get_tensor_name_map(key, config.num_hidden_layers)
    return {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in expected_tensors(model)}


def _stored(tensor: Any) -> _Stored:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return _Stored(tensor.name, shape, tensor.tensor_type, int(tensor.data_offset), int(tensor.n_bytes))


def _read(handle: Any, size_bytes: int, name: str) -> npt.NDArray[np.uint8]:
    buffer = np.empty(size_bytes, dtype=np.uint8)
    if handle.readinto(buffer.data) != size_bytes:
        raise ModelError(f'it ends inside "{name}"')
    return buffer


def _dequantised(stored: npt.NDArray[np.uint8], kind: Any) -> Numbers:
    """Numbers of the bytes, fp32 (n,). As one row: the library takes 16 rows at a time, which are few numbers here."""
    import gguf

    numbers: Numbers = gguf.dequantize(stored.reshape(1, -1), kind)
    return numbers.reshape(-1)
