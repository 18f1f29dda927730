"""A run that cannot fit should fail by itself, with an allocation error, before the kernel kills something.

RLIMIT_DATA bounds private writable memory (since Linux 4.7; getrlimit(2)), which is what tensors live in; unlike
RLIMIT_AS it does not count mapped files and reserved addresses. It is not for runs on a GPU, whose driver reserves
address space freely.
"""

from __future__ import annotations

import errno
import sys

from semtune.errors import OutOfMemoryError

_SAID_BY_ALLOCATORS = ("can't allocate memory", "cannot allocate memory", "out of memory", "defaultcpuallocator")


def limit_memory(limit_bytes: int | None) -> bool:
    """Bound this process's data to `limit_bytes` from now on; None takes the bound away as far as allowed.

    Returns whether a bound is in force: only Linux keeps one.
    """
    if not sys.platform.startswith("linux"):
        return False
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = resource.RLIM_INFINITY if limit_bytes is None else limit_bytes
    if hard != resource.RLIM_INFINITY:
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    return soft != resource.RLIM_INFINITY


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, or what caused it, says that memory ran out: Python's, torch's on CPU and GPU, the system's."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if _says_out_of_memory(current):
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError is a RuntimeError too, and says "CUDA out of memory".
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID_BY_ALLOCATORS)
