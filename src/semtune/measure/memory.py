"""Peak memory of each phase of a run (load, train, evaluate), and of the bare runtime.

On Linux the kernel keeps the process's high-water mark of resident memory (VmHWM in /proc/self/status); writing "5" to
/proc/self/clear_refs lowers it to what is resident now (proc(5)). Before that, garbage is collected and glibc
returns freed memory to the system, so that one phase's leftovers are not the next one's peak. `ru_maxrss` is no
substitute: a child inherits it from its parent and it cannot be reset. Elsewhere a thread samples the resident size.

On a CUDA GPU the figures are the caching allocator's: bytes in live tensors (`peak_bytes`) and bytes taken from the
device (`reserved_bytes`); the process's own peak is then in `host_peak_bytes`. Apple's GPU shares the main memory: a
thread samples the resident size plus what Metal's driver holds for torch, an upper bound, as pages may count in both.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from semtune.records import Phase

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_SAMPLE_SECONDS = 0.005


class PhaseMeter:
    """Peak bytes by phase. A phase may be entered several times (the highest peak counts) and inside another one.

    Entering "evaluate" inside "train" interrupts "train": memory of evaluating does not count for training.
    Construct it after the imports and before anything is loaded: `runtime_bytes` is read then.

    >>> meter = PhaseMeter()
    >>> with meter.phase("load"):
    ...     numbers = list(range(1000))
    >>> meter.peak_bytes["load"] > 0
    True
    """

    def __init__(self, device: str = "cpu") -> None:
        self._on_gpu = device.startswith("cuda")
        self._mark: _HighWaterMark = _KernelMark() if kernel_mark_works() else _SampledMark(device)
        self._open: list[Phase] = []
        self._host: dict[str, int] = {}
        self._allocated: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        release_memory()
        self.runtime_bytes = resident_bytes()

    @property
    def peak_bytes(self) -> dict[str, int]:
        """Peak bytes by phase: the GPU's where the run is on one, else resident bytes, runtime included."""
        return dict(self._allocated if self._on_gpu else self._host)

    @property
    def host_peak_bytes(self) -> dict[str, int]:
        """Peak resident bytes of this process by phase."""
        return dict(self._host)

    @property
    def reserved_bytes(self) -> dict[str, int]:
        """Peak bytes by phase that torch's allocator has reserved on the GPU; empty on a CPU."""
        return dict(self._reserved)

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Measure the block as part of phase `name`, also when the block raises."""
        self._note()
        self._open.append(name)
        self._reset()
        try:
            yield
        finally:
            self._note()
            self._open.pop()
            if self._open:
                self._reset()
            else:
                self._mark.stop()

    def _note(self) -> None:
        """Count the peak since the last reset for the innermost open phase."""
        if not self._open:
            return
        name = self._open[-1]
        _keep_highest(self._host, name, self._mark.read())
        if self._on_gpu:
            import torch

            torch.cuda.synchronize()
            _keep_highest(self._allocated, name, torch.cuda.max_memory_allocated())
            _keep_highest(self._reserved, name, torch.cuda.max_memory_reserved())

    def _reset(self) -> None:
        release_memory()
        self._mark.reset()
        if self._on_gpu:
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def release_memory() -> None:
    """Collect garbage, and return freed memory to the system where the C library can (glibc)."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Resident bytes of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def resident_and_metal_bytes() -> int:
    """Resident bytes of this process, plus the bytes that Metal's driver holds for torch."""
    import torch

    return resident_bytes() + int(torch.mps.driver_allocated_memory())


def kernel_mark_works() -> bool:
    """Whether the kernel has a high-water mark that can be reset (Linux, but not every sandbox)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        _CLEAR_REFS.write_text("5")
        return _read_mark() > 0
    except OSError:
        return False


class _HighWaterMark(Protocol):
    def reset(self) -> None: ...
    def read(self) -> int: ...
    def stop(self) -> None: ...


class _KernelMark:
    """Peak resident bytes, from the kernel's high-water mark (VmHWM)."""

    def reset(self) -> None:
        _CLEAR_REFS.write_text("5")

    def read(self) -> int:
        return _read_mark()

    def stop(self) -> None:
        pass


class _SampledMark:
    """Peak bytes in use, sampled by a thread every 5 ms; shorter peaks are missed."""

    def __init__(self, device: str) -> None:
        self._size = resident_and_metal_bytes if device.startswith("mps") else resident_bytes
        self._highest = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def reset(self) -> None:
        self._highest = self._size()
        if self._thread is None:
            self._done.clear()
            self._thread = threading.Thread(target=self._sample, name="semtune-memory", daemon=True)
            self._thread.start()

    def read(self) -> int:
        self._highest = max(self._highest, self._size())
        return self._highest

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._highest = max(self._highest, self._size())


def _read_mark() -> int:
    """VmHWM in bytes; 0 where the kernel does not report it."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _keep_highest(peaks: dict[str, int], name: str, peak_bytes: int) -> None:
    peaks[name] = max(peaks.get(name, 0), peak_bytes)
