"""Memory of a process beyond its tensors, on a CPU with glibc.

The constants were fitted to the runs of `benchmarks/plan.py --calibration`. None of these is in the grid that tests the
constants; the records under benchmarks/records/ list both. Those of 4-byte numbers were fitted to the quick grid itself
on a processor without bf16 (docs/plan.md).
"""

from __future__ import annotations

from semtune.plan import devices
from semtune.plan.devices import Device
from semtune.plan.prompt_trace import PromptTrace
from semtune.plan.trace import Trace
from semtune.records import Phase

LOADED_BYTES = 62_000_000
"""Tokenizer (with its table of bytes) and Python objects of a loaded model."""
PREPACKING_HEAP_SHARE = 1.2
"""Heap fragmentation from prepacking, as a share of the frozen weights, which are replaced one by one."""
ATTACH_HEAP_SHARE = 0.06
"""Heap fragmentation from attaching, as a share of what it allocates (fitted to QDoRA, and QLoRA from PiSSA, LoftQ)."""
PRODUCT_BYTES = 1_100_000
"""Code and scratch memory that oneDNN caches for each combination of a product and a number of rows."""
CACHED_PRODUCTS = 1024
"""Capacity of that cache (ONEDNN_PRIMITIVE_CACHE_CAPACITY)."""
ANSWER_SIZES = 12
"""Assumed number of distinct row counts among the forwards of predicting a task's texts."""
TRAIN_HEAP_SHARE = 0.17
"""Heap fragmentation from training, as a share of what a forward allocates.

glibc before 2.38 does not reuse a freed chunk for an aligned block of the same size.
"""
CHECKPOINTING_HEAP_SHARE = {2: 0.2, 4: 0.5}
"""The same with activation checkpointing, by bytes of a number: what is kept lies between freed chunks."""
GRADIENT_HEAP_SHARE = {2: 0.0, 4: 1.4}
"""Heap fragmentation from training, as a share of the largest gradient, by bytes of a number."""
EVALUATE_HEAP_SHARE = 0.75
"""Heap fragmentation from predicting, as a share of the bytes beyond `Trace.kept_bytes` at its peak."""


def peak_bytes(trace: Trace, device: Device, runtime_bytes: int, *, prepacked: bool) -> dict[Phase, int]:
    """Peak bytes of the process by phase, as `measure.memory.PhaseMeter` reads them.

    Args:
        runtime_bytes: resident bytes of a process after its imports; not used on CUDA.
        prepacked: whether loading prepacks frozen weights.
    """
    tensors = trace.tensor_bytes
    transient = {phase: max(0, tensors[phase] - trace.kept_bytes) for phase in tensors}
    fixed = fixed_bytes(device, runtime_bytes)
    if device.kind == "cuda":
        return {
            phase: round(fixed + tensors[phase] + devices.CUDA_FRAGMENTATION * transient[phase]) for phase in tensors
        }
    kinds = len(trace.step.products)
    step_products = min(CACHED_PRODUCTS, kinds * trace.row_sizes)
    answers = 1 if trace.steps_per_epoch is None else ANSWER_SIZES
    all_products = min(CACHED_PRODUCTS, step_products + kinds // 2 * answers)
    size = min(trace.itemsize, 4)
    share = CHECKPOINTING_HEAP_SHARE[size] if trace.activation_checkpointing else TRAIN_HEAP_SHARE
    train_holes = share * trace.turnover_bytes + GRADIENT_HEAP_SHARE[size] * trace.largest_gradient_bytes
    attached = ATTACH_HEAP_SHARE * trace.attach_bytes
    holes = max(attached, PREPACKING_HEAP_SHARE * trace.frozen_bytes if prepacked else 0.0)
    return {
        "load": round(fixed + tensors["load"] + holes),
        "train": round(fixed + PRODUCT_BYTES * step_products + tensors["train"] + train_holes),
        "evaluate": round(
            fixed + PRODUCT_BYTES * all_products + tensors["evaluate"] + EVALUATE_HEAP_SHARE * transient["evaluate"]
        ),
    }


def prompting_peak_bytes(
    trace: PromptTrace, device: Device, runtime_bytes: int, *, kept_bytes: int
) -> dict[Phase, int]:
    """Peak bytes of the process by phase, of a strategy that reads no training text with the model.

    Args:
        runtime_bytes: as in `peak_bytes`.
        kept_bytes: keys and values that wait for a text's next call.
    """
    fixed = fixed_bytes(device, runtime_bytes)
    evaluated = trace.kept_bytes + trace.cache_bytes + kept_bytes + trace.activation_bytes
    if device.kind == "cuda":
        holes = devices.CUDA_FRAGMENTATION * (evaluated - trace.kept_bytes)
        return {
            "load": fixed + trace.load_bytes,
            "train": fixed + trace.kept_bytes,
            "evaluate": round(fixed + evaluated + holes),
        }
    holes = PREPACKING_HEAP_SHARE * trace.frozen_bytes if trace.prepacked else 0.0
    return {
        "load": round(fixed + trace.load_bytes + holes),
        "train": fixed + trace.kept_bytes,
        "evaluate": round(fixed + evaluated + EVALUATE_HEAP_SHARE * (evaluated - trace.kept_bytes)),
    }


def fixed_bytes(device: Device, runtime_bytes: int) -> int:
    """Bytes that a process takes on `device` beside its tensors."""
    if device.kind == "cuda":
        return devices.CUDA_CONTEXT_BYTES + devices.CUDA_WORKSPACE_BYTES
    return runtime_bytes + LOADED_BYTES
