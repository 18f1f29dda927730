"""A run traced on fake tensors: loading, two optimizer steps, the prediction of the longest texts.

The traced code is the code of a real run: the loader fills the model, method and readout attach to it, and the training
loop makes the steps. Layers above this package are passed in as functions (`Assemble`).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from semtune.contracts import LoadedModel, Readout, TokenizedExample, Tokenizer
from semtune.models.fake_model import build_fake_model, layer_count, with_layers
from semtune.nn.linear import as_linear_layer
from semtune.plan import extrapolate
from semtune.plan.cost import Cost, cost_of
from semtune.plan.history import Section
from semtune.plan.recorder import FormulaSections, Recorder
from semtune.plan.traced import StopTracing, TracedModel, TracedWork
from semtune.records import Example, Phase, Prediction
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


@dataclass(frozen=True, slots=True)
class Trace:
    """Memory and cost of a run with all layers."""

    layers: int
    tensor_bytes: dict[Phase, int]
    """Peak of live tensor bytes, by phase."""
    kept_bytes: int
    """Live bytes between two steps: weights and optimizer state."""
    activation_bytes: int
    """Bytes that the largest forward adds to `kept_bytes`; they grow with the tokens of the step."""
    attach_bytes: int
    """Bytes that attaching method and readout allocates, including those that it frees again."""
    turnover_bytes: int
    """Bytes that the largest forward allocates, including those that it frees again."""
    frozen_bytes: int
    """Bytes of the blocks' frozen linear weights."""
    prepacked: bool
    """Whether frozen weights are prepacked."""
    itemsize: int
    """Bytes of a number of the activations."""
    largest_gradient_bytes: int
    """Bytes of the largest trained parameter's gradient."""
    activation_checkpointing: bool
    """Whether backward recomputes the activations of each block."""
    step: Cost
    """Cost of the typical optimizer step."""
    later_step: Cost | None
    """The same from the second epoch on, where the readout keeps hidden states; None: as in the first epoch."""
    step_tokens: int
    """Tokens of the largest step, without padding."""
    lengths: tuple[int, ...]
    """Tokens of every training text; empty where the workload is not a task's."""
    row_sizes: int
    """Number of distinct row counts (tokens of a packed batch) among the micro-batches."""
    steps_per_epoch: int | None
    """Optimizer steps; None where the workload is not a task's."""


Pairs = Sequence[tuple[Section, Section]]
"""The same sections of runs of two depths."""

_PASSES = ("forward", "backward", "accumulate")
_UPDATES = ("clip", "update")
_PHASES: dict[str, Phase] = {
    "load": "load",
    "attach": "load",
    "prepack": "load",
    "optimizer": "train",
    "forward": "train",
    "backward": "train",
    "accumulate": "train",
    "clip": "train",
    "update": "train",
    "answer": "evaluate",
}


def trace(base: Base, assemble: Assemble, workload: Callable[[Readout], Workload], *, round_to: int = 64) -> Trace:
    """Trace a run of few layers on fake tensors and extrapolate it to all layers.

    Args:
        workload: builds the workload with the readout that encodes the texts; called once.
        round_to: the device's allocator rounds every tensor up to a multiple of so many bytes.

    Raises what loading and attaching raise.
    """
    layers, once = layer_count(base.config), _WorkloadOnce(workload)
    depth = extrapolate.shallow_layers(
        layers, activation_checkpointing=base.activation_checkpointing, last_apart=base.last_blocks_apart
    )
    formulas: FormulaSections = {}
    shallow, deep = (run_phases(base, n, assemble, once, round_to, formulas) for n in (depth, depth + 1))
    more = layers - depth
    pairs = extrapolate.match(shallow.sections, deep.sections)
    tensor_bytes: dict[Phase, int] = {}
    for a, b in pairs:
        phase = _PHASES[a.name]
        tensor_bytes[phase] = max(tensor_bytes.get(phase, 0), extrapolate.peak_bytes(a, b, more))
    typical, largest, repeated = (pairs[a:b] for a, b in itertools.pairwise((0, *shallow.step_ends)))
    forwards = [(a, b) for a, b in pairs if a.name == "forward"]
    between = next((a, b) for a, b in largest if a.name == "forward")
    run_tokens, all_tokens = (
        sum(len(text) for batch in batches for text in batch)
        for batches in (once.workload.typical[:MICRO_BATCHES], once.workload.typical)
    )
    # Updates do not grow with tokens. They are those of the second step, as the first makes the optimizer's state.
    fused_updates = cost_of([p for p in largest if p[0].name in _PASSES], more).cold_bytes
    updates = cost_of([p for p in largest if p[0].name in _UPDATES], more).cold()
    updates = replace(updates, cold_bytes=updates.cold_bytes + fused_updates)

    def step_cost(sections: Pairs) -> Cost:
        passes = replace(cost_of([p for p in sections if p[0].name in _PASSES], more), cold_bytes=0.0)
        return passes.times(all_tokens / run_tokens).plus(updates)

    # An upper bound: the rows of the traced texts are live already, and those of the test split are not kept.
    kept_rows = shallow.kept_bytes_per_example * once.workload.examples
    for phase in set(tensor_bytes) - {"load"}:
        tensor_bytes[phase] += kept_rows
    return Trace(
        layers=layers,
        tensor_bytes=tensor_bytes,
        kept_bytes=kept_rows + extrapolate.extrapolated(between[0].live_bytes[0], between[1].live_bytes[0], more),
        activation_bytes=max(
            extrapolate.peak_bytes(a, b, more) - extrapolate.extrapolated(a.live_bytes[0], b.live_bytes[0], more)
            for a, b in forwards
        ),
        attach_bytes=sum(round(extrapolate.total(a, b, more, allocated_bytes)) for a, b in pairs if a.name == "attach"),
        turnover_bytes=max(round(extrapolate.total(a, b, more, allocated_bytes)) for a, b in forwards),
        frozen_bytes=extrapolate.extrapolated(shallow.frozen_bytes, deep.frozen_bytes, more),
        prepacked=shallow.prepacked > 0,
        itemsize=base.dtype.itemsize,
        largest_gradient_bytes=shallow.largest_gradient_bytes,
        activation_checkpointing=base.activation_checkpointing,
        step=step_cost(typical),
        later_step=step_cost(repeated) if repeated else None,
        step_tokens=sum(len(text) for batch in once.workload.largest for text in batch),
        lengths=once.workload.lengths,
        row_sizes=once.workload.row_sizes,
        steps_per_epoch=once.workload.steps_per_epoch,
    )


class _WorkloadOnce:
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
    once: _WorkloadOnce,
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
    recorder: Recorder, base: Base, config: Any, assemble: Assemble, once: _WorkloadOnce
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
