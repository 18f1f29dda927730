"""A memory limit for this process, and a test whether an exception means that memory ran out.

With a limit a run that cannot fit fails with an allocation error of its own, before the kernel kills some process.
The limit is RLIMIT_DATA (getrlimit(2)): since Linux 4.7 it bounds private writable memory, where tensors live, and
unlike RLIMIT_AS it counts neither mapped files nor reserved addresses. Do not set it for runs on a GPU, whose driver
reserves much private memory that it never uses.
"""

from __future__ import annotations

import errno
import sys

from semtune.errors import OutOfMemoryError

_OUT_OF_MEMORY_MESSAGES = ("can't allocate memory", "cannot allocate memory", "out of memory", "defaultcpuallocator")
"""Parts of the error messages of torch's and the system's allocators, in lower case."""


def limit_memory(limit_bytes: int | None) -> bool:
    """Limit this process's private memory to `limit_bytes` from now on; None lifts the limit up to the hard one.

    Returns whether a limit is in force afterwards; only Linux enforces it, elsewhere nothing happens.
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
    """Whether `error`, or an exception that caused it, means that memory ran out.

    Known are Python's MemoryError, torch's errors on CPU and GPU, ENOMEM of the system, and `OutOfMemoryError`.
    """
    visited: set[int] = set()  # causes can form a circle
    current: BaseException | None = error
    while current is not None and id(current) not in visited:
        if _means_out_of_memory(current):
            return True
        visited.add(id(current))
        current = current.__cause__ or current.__context__
    return False


def _means_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError is a RuntimeError too, and says "CUDA out of memory".
    return isinstance(error, RuntimeError) and any(part in str(error).lower() for part in _OUT_OF_MEMORY_MESSAGES)
