"""Reading and writing safetensors files for the methods: written whole or not at all, read one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from semtune.errors import ModelError, first_line
from semtune.runtime.files import write_with


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` to `path` as safetensors, in their own dtypes. Raises OutputError."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(contiguous, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # the library's own class for a full disk and the like
            raise OSError(first_line(error)) from error

    write_with(path, write)


class TensorFile:
    """A safetensors file that is open for reading. Every fault of the file is a ModelError that names it."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"There is no file {path}; give the folder of a finished run.")
        self.path = path
        try:
            self._file: Any = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is not a readable safetensors file ({error}); it may be cut short.") from error

    def __enter__(self) -> TensorFile:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, traceback)

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Check that the file has exactly the tensors `expected`, in these shapes. Raises ModelError."""
        found = set(self._file.keys())
        advice = "give the model, method and targets that it was made with"
        if missing := sorted(expected.keys() - found):
            raise ModelError(f"{self.path} lacks {len(missing)} of the weights needed, first {missing[0]}; {advice}")
        if extra := sorted(found - expected.keys()):
            raise ModelError(f"{self.path} has {len(extra)} weights with no place here, first {extra[0]}; {advice}")
        for name, shape in expected.items():
            in_file = tuple(self._file.get_slice(name).get_shape())
            if in_file != shape:
                raise ModelError(f"{name} in {self.path} has shape {in_file}, not {shape}; {advice}")

    def copy_into(self, targets: Mapping[str, Tensor]) -> None:
        """Copy each named tensor into the given one, converting its dtype where they differ."""
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(self._file.get_tensor(name))


def read_tensors(path: Path, targets: Mapping[str, Tensor]) -> None:
    """Copy the file's tensors into `targets`, which must have the same names and shapes; dtypes are converted.

    Raises ModelError for a missing, broken or different file, before any target was changed.
    """
    with TensorFile(path) as file:
        file.check({name: tuple(target.shape) for name, target in targets.items()})
        file.copy_into(targets)
