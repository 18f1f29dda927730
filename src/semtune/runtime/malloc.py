"""Settings of glibc's malloc for training: memory that a step frees stays in the process for the next step.

By default malloc returns the top of the heap to the system whenever 64 MB of it are free. Every step of full tuning
then returned its gradients and got them again page by page: 55,000 page faults and 0.12 s in the kernel, of 0.57 s a
step (SmolLM2-135M, 8 texts). With the memory kept the step took 0.48 s at the same peak. Blocks above the mmap
threshold, such as the gradient of the vocabulary's embedding, would still be mapped anew each time (14,000 faults a
step), so mmap is off inside as well: 11 to 14% less time in one probe, about 4% over batches of several sizes
(docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# Numbers from glibc's malloc.h; the largest mmap threshold that it accepts on 64-bit systems is 32 MiB.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KEPT = {_M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20, _M_MMAP_THRESHOLD: 32 << 20, _M_MMAP_MAX: 0}
_BEFORE = {_M_TRIM_THRESHOLD: 64 << 20, _M_TOP_PAD: 128 << 10, _M_MMAP_THRESHOLD: 32 << 20, _M_MMAP_MAX: 65536}
"""Restored afterwards: the values that malloc's dynamic adjustment has reached when a model is loaded."""

_LARGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14  # sys/mman.h of Linux; a system without such pages answers with an error, which changes nothing


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed memory stays in the process; on leaving it returns to the system. No effect without glibc."""
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _KEPT)
    try:
        yield
    finally:
        _set(libc, _BEFORE)
        libc.malloc_trim(0)


def use_large_pages(address: int, size_bytes: int) -> None:
    """Request 2 MB pages (madvise(2), MADV_HUGEPAGE) for this address range, before anything is written to it.

    A pass over a gigabyte touches 250,000 pages of 4 KB, and the processor's TLB holds a few thousand. No effect where
    Linux does not give such pages on request.
    """
    libc = _glibc()
    first = -(-address // _LARGE_PAGE) * _LARGE_PAGE
    last = (address + size_bytes) // _LARGE_PAGE * _LARGE_PAGE
    if libc is not None and last > first:
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_HUGEPAGE)


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
