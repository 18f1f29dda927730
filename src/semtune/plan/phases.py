"""A run of few layers on fake tensors: loading, two optimizer steps, the prediction of the longest texts.

The traced code is the code of a real run: the loader fills the model, method and readout attach to it, and the training
loop makes the steps. Layers above this package are passed in as functions (`Assemble`).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from semtune.contracts import LoadedModel, Readout, TokenizedExample, Tokenizer
from semtune.models.fake_model import build_fake_model, with_layers
from semtune.nn.linear import as_linear_layer
from semtune.plan.history import Section
from semtune.plan.recorder import FormulaSections, Recorder
from semtune.plan.traced import StopTracing, TracedModel, TracedWork
from semtune.records import Example, Prediction
from semtune.training.loop import optimizer_step
from semtune.training.rule import OptimizerChoice, ParameterGroup
from semtune.training.schedule import Schedule

MICRO_BATCHES = 2
"""Micro-batches of a traced step: the first allocates the gradients, the second and all further ones add to them."""


class Assembled(Protocol):
    """A model with method and readout attached (`approaches.tuned_model.TunedModel`)."""

    readout: Readout

    @property
    def optimizer_choice(self) -> OptimizerChoice: ...

    def groups(self) -> list[ParameterGroup]: ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]: ...


Assemble = Callable[[LoadedModel], Assembled]


@dataclass(frozen=True, slots=True)
class Base:
    """The base model of a run."""

    config: Any
    """transformers' config."""
    name: str
    precision: str
    dtype: torch.dtype
    """The dtype of matrix products."""
    gpu: bool
    """Whether fake tensors take the CUDA code path."""
    stored_dtype: torch.dtype
    """The dtype of the tensors in the model's files."""
    tokenizer: Tokenizer
    activation_checkpointing: bool = False
    """Whether backward recomputes the activations of each block."""
    frozen: bool = False
    """Whether the method trains no linear weight in place (`contracts.freezes_linears`)."""
    last_blocks_apart: int = 0
    """See `MethodSettings`."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The batches and texts that are traced, and what is known of all others."""

    largest: Sequence[Sequence[TokenizedExample]]
    """Micro-batches of the optimizer step with the most tokens."""
    typical: Sequence[Sequence[TokenizedExample]]
    """Micro-batches of the optimizer step with the median number of tokens."""
    predicted: Sequence[Example]
    """The longest texts that are predicted in one batch."""
    max_new_tokens: int
    """Tokens that an answer may have at most."""
    steps_per_epoch: int | None = None
    """Optimizer steps; None where the workload is not a task's."""
    lengths: tuple[int, ...] = ()
    """Tokens of every training text; empty where the workload is not a task's."""
    row_sizes: int = 1
    """Number of distinct row counts (tokens of a packed batch) among the micro-batches."""
    examples: int = 0
    """Examples that are trained on or predicted; 0 where the workload is not a task's."""


class WorkloadOnce:
    """Builds the workload at the first call; runs of different depth share it."""

    def __init__(self, make: Callable[[Readout], Workload]) -> None:
        self._make = make
        self._made: Workload | None = None

    def build(self, readout: Readout) -> Workload:
        if self._made is None:
            self._made = self._make(readout)
        return self._made

    @property
    def workload(self) -> Workload:
        """The workload that `build` has built."""
        assert self._made is not None
        return self._made


@dataclass(frozen=True, slots=True)
class PhaseTrace:
    """Trace of a run with few layers."""

    sections: list[Section]
    frozen_bytes: int
    prepacked: int
    """Number of prepacked linear layers."""
    largest_gradient_bytes: int
    step_ends: tuple[int, int, int]
    """Number of sections up to the end of the first step, the second, and that which repeats the first; the last two
    are equal where nothing is kept, so that a repetition would be the same."""
    kept_bytes_per_example: int
    """See `contracts.Readout`."""


def run_phases(
    base: Base,
    depth: int,
    assemble: Assemble,
    once: WorkloadOnce,
    round_to: int,
    formulas: FormulaSections | None = None,
) -> PhaseTrace:
    """Trace loading, training and prediction with `depth` layers."""
    recorder = Recorder(round_to, cuda=base.gpu, formulas=formulas)
    config = with_layers(base.config, depth)
    with manual_garbage_collection(), recorder.recording():
        return _load_train_predict(recorder, base, config, assemble, once)


@contextlib.contextmanager
def manual_garbage_collection() -> Iterator[None]:
    """Disable automatic garbage collection inside; `gc.collect` visits only objects created inside.

    Automatic collection frees reference cycles at arbitrary instants, but runs of two depths must free them at the same
    ones. Objects created before are frozen, because visiting those of all libraries takes about 0.1 s per collection.
    """
    collecting, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if collecting:
            gc.enable()


def _load_train_predict(
    recorder: Recorder, base: Base, config: Any, assemble: Assemble, once: WorkloadOnce
) -> PhaseTrace:
    """Run all phases."""
    recorder.begin("load")
    loaded = build_fake_model(
        config, name=base.name, precision=base.precision, dtype=base.dtype,
        device=torch.device("cpu"), stored_dtype=base.stored_dtype, tokenizer=base.tokenizer,
        frozen=base.frozen and not base.gpu,
    )  # fmt: skip
    traced = TracedModel(loaded, recorder)
    recorder.begin("attach")
    tuned = assemble(traced)
    gc.collect()
    recorder.begin("optimizer")
    optimizer = tuned.optimizer_choice.make(tuned.groups(), Schedule(3, warmup_fraction=0.1), recorder.begin)
    work, workload = TracedWork(recorder, tuned.readout), once.build(tuned.readout)
    traced.model.train()
    # The first step allocates the optimizer state; the second is like all further ones of an epoch.
    kept = tuned.readout.kept_bytes_per_example
    step_ends = []
    for micro_batches in (workload.typical, workload.largest, *([workload.typical] if kept else [])):
        gc.collect()  # activation checkpointing leaves reference cycles
        optimizer_step(work, optimizer, micro_batches[:MICRO_BATCHES], max_grad_norm=1.0)
        step_ends.append(len(recorder.sections))
    traced.model.eval()
    gc.collect()
    traced.trace_prediction(workload.max_new_tokens)
    with contextlib.suppress(StopTracing):
        tuned.predict(workload.predicted)
    first, second, third = step_ends if kept else (*step_ends, step_ends[-1])
    return PhaseTrace(
        recorder.sections, frozen_bytes(traced), traced.prepacked, optimizer.largest_gradient_bytes,
        (first, second, third), kept,
    )  # fmt: skip


def allocated_bytes(section: Section) -> float:
    """Bytes that the section allocates: the sum of all rises of its live bytes."""
    live = section.live_bytes
    return float(sum(max(0, b - a) for a, b in itertools.pairwise(live)))


def frozen_bytes(loaded: LoadedModel) -> int:
    """Bytes of the frozen weights and biases of the blocks' linear layers; a second, prepacked copy does not count."""
    total = 0
    for layer in map(as_linear_layer, loaded.linears().values()):
        total += layer.weight_bytes if layer.weight_frozen else 0
        if layer.bias is not None and not layer.bias.requires_grad:
            total += layer.bias.numel() * layer.bias.element_size()
    return total
