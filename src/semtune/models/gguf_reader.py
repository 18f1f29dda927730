"""The gguf library's reader of a file's header, several times faster, and once for all who ask in a process.

The library keeps an array for each string and number of the header, cut out of numpy's memmap, which costs 14 µs and
700 bytes each: 14 s and 0.7 GB for a vocabulary of 262,144 tokens. transformers reads the header again for the
config and for the tokenizer. Here arrays are made on the file's buffer directly.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt


class Reader(gguf.GGUFReader):
    """A `gguf.GGUFReader` with the same fields and tensors. Raises TypeError where the file ends within its header."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: str | None = None) -> npt.NDArray[Any]:
        order: Any = override_order or self.byte_order
        kind = np.dtype(dtype).newbyteorder(order)
        return np.ndarray((int(count),), kind, buffer=self.data, offset=int(offset))


@contextlib.contextmanager
def one_reading() -> Iterator[None]:
    """Within it `gguf.GGUFReader` is `Reader`, and the same path gives the same object."""
    library: Any = gguf
    original = library.GGUFReader
    library.GGUFReader = functools.lru_cache(maxsize=1)(Reader)
    try:
        yield
    finally:
        library.GGUFReader = original
