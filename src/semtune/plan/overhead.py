"""What a run takes beyond its tensors, on a CPU with glibc: constants, fitted to measured runs.

Fitted to the cells of `benchmarks/plan.py --calibration`, none of which is in its grid; the record that stands under
benchmarks/records/ lists both.
"""

from __future__ import annotations

from semtune.plan import devices
from semtune.plan.devices import Device
from semtune.plan.trace import Trace
from semtune.records import Phase

LOADED_BYTES = 62_000_000
"""The tokenizer with its table of bytes, and the model's Python objects."""
PACKING_SHARE = 1.2
"""Of frozen weights: holes that the plain ones leave on the heap while they are replaced one by one."""
ATTACH_HEAP_SHARE = 0.14
"""Of all that attaching allocates (DoRA's norms widen every weight), lost between chunks."""
PRODUCT_BYTES = 1_100_000
"""What oneDNN keeps of each product for each number of rows that it has met, code and scratch."""
PRODUCTS_KEPT = 1024
"""It keeps so many, the rest is made anew (its ONEDNN_PRIMITIVE_CACHE_CAPACITY)."""
ANSWER_SIZES = 12
"""Different numbers of rows in the forwards of an answer, about, where a task's texts are answered."""
TRAIN_HEAP_SHARE = 0.17
"""Of all that a forward allocates, lost between chunks: glibc before 2.38 does not put an aligned block into a freed
one of the same size."""
CHECKPOINTING_HEAP_SHARE = 0.2
"""The same with recomputation: the little that blocks keep lies between what they free."""
EVALUATE_HEAP_SHARE = 0.75
"""Of what an answer allocates at its peak."""


def peak_bytes(trace: Trace, device: Device, runtime_bytes: int, *, packed: bool) -> dict[Phase, int]:
    """Peaks of a whole process by phase, as `measure.memory.PhaseMeter` would read them.

    Args:
        runtime_bytes: of the bare runtime (imports done, nothing loaded); of no account on CUDA.
        packed: whether frozen weights are laid out for products while loading.
    """
    tensors = trace.tensor_bytes
    passing = {phase: max(0, tensors[phase] - trace.kept_bytes) for phase in tensors}
    fixed = fixed_bytes(device, runtime_bytes)
    if device.kind == "cuda":
        return {phase: round(fixed + tensors[phase] + devices.CUDA_FRAGMENTATION * passing[phase]) for phase in tensors}
    kinds = len(trace.step.products)
    step_products = min(PRODUCTS_KEPT, kinds * trace.row_sizes)
    answers = 1 if trace.steps_per_epoch is None else ANSWER_SIZES
    all_products = min(PRODUCTS_KEPT, step_products + kinds // 2 * answers)
    share = CHECKPOINTING_HEAP_SHARE if trace.activation_checkpointing else TRAIN_HEAP_SHARE
    attached = ATTACH_HEAP_SHARE * trace.attach_bytes
    holes = max(attached, PACKING_SHARE * trace.frozen_bytes if packed else 0.0)
    return {
        "load": round(fixed + tensors["load"] + holes),
        "train": round(fixed + PRODUCT_BYTES * step_products + tensors["train"] + share * trace.turnover_bytes),
        "evaluate": round(
            fixed + PRODUCT_BYTES * all_products + tensors["evaluate"] + EVALUATE_HEAP_SHARE * passing["evaluate"]
        ),
    }


def fixed_bytes(device: Device, runtime_bytes: int) -> int:
    """What every process takes on `device`, whatever its tensors."""
    if device.kind == "cuda":
        return devices.CUDA_CONTEXT_BYTES + devices.CUDA_WORKSPACE_BYTES
    return runtime_bytes + LOADED_BYTES
