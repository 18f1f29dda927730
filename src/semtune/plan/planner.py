"""Estimates of one run on one device: peak memory, whether it fits, seconds of a step.

Layers above this package (building a tuned model, reading a task) are passed in as functions of a `PlanRequest`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from semtune.contracts import LoadedModel, Readout, Tokenizer, freezes_linears
from semtune.models.architectures import linears_of
from semtune.models.fake_model import layer_count, with_layers
from semtune.models.loading import dtype_of, quantization_of
from semtune.models.meta_model import build_meta_model
from semtune.models.prepacking import would_prepack
from semtune.plan import overhead
from semtune.plan.devices import BUS_BYTES_PER_SECOND, CUDA_ROUNDING_BYTES, Device
from semtune.plan.phases import Assembled, Base, Workload
from semtune.plan.speed import Rates
from semtune.plan.trace import Trace, trace
from semtune.records import Plan, RunSpec
from semtune.registry import METHODS
from semtune.specs import check_device, method_settings

CPU_ROUNDING_BYTES = 64
"""torch aligns tensors in main memory to a multiple of so many bytes."""


@dataclass(frozen=True)
class PlanRequest:
    """Everything that a plan depends on beside the spec."""

    config: Any
    """transformers' config of the base model."""
    stored_dtype: torch.dtype
    """The dtype of the tensors in the model's files."""
    tokenizer: Tokenizer
    assemble: Callable[[RunSpec, LoadedModel], Assembled]
    """Attaches method and readout of a spec to a model."""
    workload: Callable[[RunSpec, Readout], Workload]
    """Encodes the batches and texts of a spec with its readout."""
    device: Device
    rates: Rates | None
    """None: plans have no times."""
    runtime_bytes: int
    """Resident bytes of a process after its imports."""
    machine_bytes: int
    """This machine's memory, of which frozen weights may take a share for a second copy."""
    conversion_bytes: int = 0
    """Peak bytes of the process that converts the model's file before the first run; 0: nothing is converted."""
    note: str | None = None
    """A remark on the tokenizer for the plan's reader."""


@dataclass
class Estimate:
    """Memory and time of one spec on the requested device."""

    spec: RunSpec
    trace: Trace
    peak_bytes: dict[str, int]
    seconds: float | None
    """Seconds of a typical optimizer step, in the first epoch."""
    later_seconds: float | None
    """The same in all further epochs, in which a readout may keep the first one's hidden states."""
    memory_bytes: int
    """Memory of the device."""
    fixed_bytes: int
    """Bytes of `memory_bytes` that are not available to tensors."""

    @property
    def state_fits(self) -> bool:
        """Whether weights and optimizer state fit, so that a step with smaller activations can fit."""
        return self.trace.kept_bytes < self.tensor_memory_bytes

    @property
    def tensor_memory_bytes(self) -> int:
        """Memory of the device that is available to tensors."""
        return self.memory_bytes - self.fixed_bytes

    @property
    def highest_bytes(self) -> int:
        """The highest peak of all phases."""
        return max(self.peak_bytes.values())

    @property
    def fits(self) -> bool:
        return self.highest_bytes <= self.memory_bytes


@dataclass
class Planner:
    """Plans runs of one model on one device. Traces are memoised by spec.

    Args:
        traced: traces by spec; may be shared by planners whose requests differ only in the device's memory.
    """

    request: PlanRequest
    traced: dict[str, Trace] = field(default_factory=dict)

    def estimate(self, spec: RunSpec) -> Estimate:
        """Estimate the run of a resolved spec. Raises what loading and attaching raise."""
        q = self.request
        check_device(spec, q.device.kind)
        trace = self._trace(spec)
        on_gpu = q.device.kind == "cuda"
        peaks = overhead.peak_bytes(trace, q.device, q.runtime_bytes, prepacked=trace.prepacked)
        if not on_gpu and q.conversion_bytes:
            peaks = {**peaks, "load": max(peaks["load"], q.runtime_bytes + q.conversion_bytes)}
        seconds = None if q.rates is None else q.rates.seconds(trace.step, prepacked=trace.prepacked)
        if on_gpu and spec.offload_bytes:
            outside = min(spec.offload_bytes, trace.frozen_bytes)
            peaks = {phase: peak - outside + fetched_bytes(trace) for phase, peak in peaks.items()}
            seconds = None if seconds is None else seconds + spill_seconds(outside, spec)
        later = seconds
        if q.rates is not None and trace.later_step is not None:  # no frozen weight is used, so none is copied
            later = q.rates.seconds(trace.later_step, prepacked=trace.prepacked)
        fixed = overhead.fixed_bytes(q.device, q.runtime_bytes)
        return Estimate(spec, trace, dict[str, int](**peaks), seconds, later, q.device.memory_bytes, fixed)

    def plan(self, spec: RunSpec) -> Plan:
        """The plan of a resolved spec, without advice (see `advice`). Raises what loading and attaching raise."""
        found = self.estimate(spec)
        spill = 0 if found.fits else spill_bytes(found, self.request.device)
        seconds, later = found.seconds, found.later_seconds
        if seconds is not None and later is not None:
            seconds += spill_seconds(spill, spec)
            later = seconds if found.trace.later_step is None else later
        steps = found.trace.steps_per_epoch
        train_seconds = None
        if steps is not None and seconds is not None and later is not None:
            train_seconds = steps * (seconds + (spec.epochs - 1) * later)
        return Plan(
            method=spec.method,
            fits=found.fits,
            spill_bytes=spill,
            peak_bytes=found.peak_bytes,
            # A run reports the median of its steps, of which those after the first epoch are the most.
            seconds_per_iteration=seconds if spec.epochs == 1 else later,
            train_seconds=train_seconds,
        )

    def _trace(self, spec: RunSpec) -> Trace:
        spec = dataclasses.replace(spec, offload_bytes=0)  # `estimate` accounts for offloading afterwards
        key = repr(spec)
        if key in self.traced:
            return self.traced[key]
        q = self.request
        settings = method_settings(spec)
        precision = settings.precision
        on_gpu = q.device.kind == "cuda"
        base = Base(
            config=q.config, name=spec.model, precision=precision,
            dtype=dtype_of(precision, bf16=q.device.native_bf16), gpu=on_gpu, stored_dtype=q.stored_dtype,
            tokenizer=q.tokenizer, activation_checkpointing=spec.activation_checkpointing,
            frozen=freezes_linears(METHODS.get(spec.method)),
            last_blocks_apart=settings.last_blocks_apart,
        )  # fmt: skip
        prepack = spec.prepack if spec.prepack is not None else self._would_prepack
        resolved = dataclasses.replace(spec, prepack=prepack and not on_gpu)
        self.traced[key] = trace(
            base,
            lambda loaded: q.assemble(resolved, loaded),
            lambda readout: q.workload(resolved, readout),
            round_to=CUDA_ROUNDING_BYTES if on_gpu else CPU_ROUNDING_BYTES,
        )
        return self.traced[key]

    @functools.cached_property
    def _would_prepack(self) -> bool:
        """The decision of `models.prepacking` for all layers, of which a traced model has only a few."""
        config = self.request.config
        one = linears_of(build_meta_model(with_layers(config, 1), torch.bfloat16))
        numel = sum(p.numel() for layer in one.values() for p in layer.parameters())
        return would_prepack(2 * numel * layer_count(config), self.request.machine_bytes)


def spill_bytes(found: Estimate, device: Device) -> int:
    """Bytes of frozen weights to offload so that the run fits the GPU; 0 where none need to or too few can be."""
    needed = found.highest_bytes - device.memory_bytes
    if not device.spill_bytes or needed <= 0 or found.spec.offload_bytes:
        return 0
    settings = method_settings(found.spec)
    quantization = quantization_of(settings.precision)
    offloadable = quantization is None or quantization.offloadable
    if settings.last_blocks_apart:  # offloading begins with the last blocks, and those are trained
        offloadable = False
    movable = found.trace.frozen_bytes if offloadable else 0
    total = needed + fetched_bytes(found.trace)
    return total if total <= min(movable, device.spill_bytes) else 0


def fetched_bytes(trace: Trace) -> int:
    """Bytes of staging buffers for offloaded weights: one block, which is freed before the next block runs."""
    return trace.frozen_bytes // trace.layers


def spill_seconds(spilled_bytes: int, spec: RunSpec) -> float:
    """Seconds of an optimizer step spent on copying offloaded weights.

    Forward and backward copy them once each; activation checkpointing copies them once more for its second forward.
    """
    times = (3 if spec.activation_checkpointing else 2) * spec.accumulation_steps
    return times * spilled_bytes / BUS_BYTES_PER_SECOND
