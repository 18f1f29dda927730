"""Memory and cost of a run with all layers, from two traced runs of few layers (`phases`, `extrapolate`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from semtune.contracts import Readout
from semtune.models.fake_model import layer_count
from semtune.plan import extrapolate
from semtune.plan.cost import Cost, cost_of
from semtune.plan.history import Section
from semtune.plan.phases import MICRO_BATCHES, Assemble, Base, Workload, WorkloadOnce, allocated_bytes, run_phases
from semtune.plan.recorder import FormulaSections
from semtune.records import Phase


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
    layers, once = layer_count(base.config), WorkloadOnce(workload)
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
