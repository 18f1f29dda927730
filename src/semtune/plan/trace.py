"""A run's phases on fake tensors: load, two training steps, an answer to the longest texts.

The run's own code does all of it: the model is filled as a real one, method and readout attach as to a real one, the
step is the training loop's. What stands on floors above is handed in (`Assemble`).
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
from semtune.plan.history import Section
from semtune.plan.recorder import FormulaSections, Recorder
from semtune.plan.traced import StopTracing, TracedModel, TracedOptimizer, TracedWork
from semtune.records import Example, Phase, Prediction
from semtune.training.loop import optimizer_step
from semtune.training.optimizer import ParameterGroup

MICRO_BATCHES = 2
"""Of a step: gradients are made in the first and added to in the second, and so in all that follow."""


class Assembled(Protocol):
    """A model with method and readout attached (`approaches.tuned.TunedModel`)."""

    readout: Readout

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
    """What products run in."""
    gpu: bool
    """Whether all goes a GPU's ways."""
    stored_dtype: torch.dtype
    """Of the tensors in the model's files."""
    tokenizer: Tokenizer
    activation_checkpointing: bool = False
    """Whether blocks are computed again in backward."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What the run is given to do."""

    largest: Sequence[Sequence[TokenizedExample]]
    """Micro-batches of the optimizer step with the most tokens."""
    typical: Sequence[Sequence[TokenizedExample]]
    """Those of a step in the middle."""
    asked: Sequence[Example]
    """The longest texts that are answered at once."""
    max_new_tokens: int
    """That an answer may have."""
    steps_per_epoch: int | None = None
    """Optimizer steps, where the workload is a task's."""
    lengths: tuple[int, ...] = ()
    """Tokens of every training text, where the workload is a task's."""
    row_sizes: int = 1
    """How many different numbers of rows its training steps have."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stretch of a run multiplies and moves."""

    products: tuple[tuple[float, float], ...]
    """(FLOPs of one product, how many such there are), at full depth."""
    loop_flops: float
    moved_bytes: float
    unpacked_bytes: float
    operations: float
    cold_bytes: float = 0.0
    """Moved too, but out of main memory: what was last touched a step ago."""

    @property
    def flops(self) -> float:
        """Of all products."""
        return sum(flops * count for flops, count in self.products)

    def times(self, factor: float) -> Cost:
        """`factor` times as much."""
        return Cost(
            tuple((flops, factor * count) for flops, count in self.products),
            factor * self.loop_flops,
            factor * self.moved_bytes,
            factor * self.unpacked_bytes,
            factor * self.operations,
            factor * self.cold_bytes,
        )

    def plus(self, other: Cost) -> Cost:
        """Both, one after the other."""
        products = dict(self.products)
        for flops, count in other.products:
            products[flops] = products.get(flops, 0.0) + count
        return Cost(
            tuple(products.items()),
            self.loop_flops + other.loop_flops,
            self.moved_bytes + other.moved_bytes,
            self.unpacked_bytes + other.unpacked_bytes,
            self.operations + other.operations,
            self.cold_bytes + other.cold_bytes,
        )

    def cold(self) -> Cost:
        """The same with all that it moves coming from main memory."""
        return replace(self, moved_bytes=0.0, cold_bytes=self.moved_bytes + self.cold_bytes)


@dataclass(frozen=True, slots=True)
class Trace:
    """What all layers would take."""

    layers: int
    tensor_bytes: dict[Phase, int]
    """The most that is alive at once."""
    kept_bytes: int
    """Alive between two steps: weights, optimizer state."""
    activation_bytes: int
    """What the largest forward adds to them; it grows with the step's tokens."""
    attach_bytes: int
    """All that attaching method and readout allocates, what it frees again included."""
    turnover_bytes: int
    """All that the largest forward allocates, what it frees again included."""
    frozen_bytes: int
    """Of the decoder's linear weights that are not trained."""
    packed: bool
    """Whether frozen weights were laid out for products."""
    activation_checkpointing: bool
    """Whether blocks are computed again in backward."""
    step: Cost
    """The typical step."""
    step_tokens: int
    """Real tokens of the largest step."""
    lengths: tuple[int, ...]
    """Tokens of every training text; empty where the workload is not a task's."""
    row_sizes: int
    """Different numbers of rows that training steps have."""
    steps_per_epoch: int | None
    """None where the workload is not a task's."""


_PASSES = ("forward", "backward", "collect")
_UPDATES = ("clip", "update")
_PHASES: dict[str, Phase] = {
    "load": "load",
    "attach": "load",
    "pack": "load",
    "optimizer": "train",
    "forward": "train",
    "backward": "train",
    "collect": "train",
    "clip": "train",
    "update": "train",
    "answer": "evaluate",
}


def trace(base: Base, assemble: Assemble, workload: Callable[[Readout], Workload], *, round_to: int = 64) -> Trace:
    """Bytes and effort of a run, by running it with few layers on fake tensors.

    Args:
        workload: what there is to do, given the readout that encodes it; asked once.

    Raises what loading and attaching raise.
    """
    layers, given = layer_count(base.config), _Given(workload)
    depth = extrapolate.SHALLOW_CHECKPOINTED if base.activation_checkpointing else extrapolate.SHALLOW
    formulas: FormulaSections = {}
    shallow, deep = (run_phases(base, n, assemble, given, round_to, formulas) for n in (depth, depth + 1))
    more = layers - depth
    pairs = extrapolate.match(shallow.sections, deep.sections)
    tensor_bytes: dict[Phase, int] = {}
    for a, b in pairs:
        phase = _PHASES[a.name]
        tensor_bytes[phase] = max(tensor_bytes.get(phase, 0), extrapolate.peak_bytes(a, b, more))
    first_update = next(i for i, (a, _) in enumerate(pairs) if a.name == "update")
    typical, largest = pairs[:first_update], pairs[first_update + 1 :]
    forwards = [(a, b) for a, b in pairs if a.name == "forward"]
    between = next((a, b) for a, b in largest if a.name == "forward")
    run_tokens, all_tokens = (
        sum(len(text) for batch in batches for text in batch)
        for batches in (given.made.typical[:MICRO_BATCHES], given.made.typical)
    )
    passes = _effort([p for p in typical if p[0].name in _PASSES], more)
    updates = _effort([p for p in largest if p[0].name in _UPDATES], more)
    return Trace(
        layers=layers,
        tensor_bytes=tensor_bytes,
        kept_bytes=extrapolate.with_more(between[0].live_bytes[0], between[1].live_bytes[0], more),
        activation_bytes=max(
            extrapolate.peak_bytes(a, b, more) - extrapolate.with_more(a.live_bytes[0], b.live_bytes[0], more)
            for a, b in forwards
        ),
        attach_bytes=sum(round(extrapolate.total(a, b, more, _allocated)) for a, b in pairs if a.name == "attach"),
        turnover_bytes=max(round(extrapolate.total(a, b, more, _allocated)) for a, b in forwards),
        frozen_bytes=extrapolate.with_more(shallow.frozen_bytes, deep.frozen_bytes, more),
        packed=shallow.packed > 0,
        activation_checkpointing=base.activation_checkpointing,
        step=passes.times(all_tokens / run_tokens).plus(updates.cold()),
        step_tokens=sum(len(text) for batch in given.made.largest for text in batch),
        lengths=given.made.lengths,
        row_sizes=given.made.row_sizes,
        steps_per_epoch=given.made.steps_per_epoch,
    )


class _Given:
    """The workload, made once."""

    def __init__(self, make: Callable[[Readout], Workload]) -> None:
        self._make = make
        self._made: Workload | None = None

    def to(self, readout: Readout) -> Workload:
        if self._made is None:
            self._made = self._make(readout)
        return self._made

    @property
    def made(self) -> Workload:
        """What `to` made."""
        assert self._made is not None
        return self._made


@dataclass(frozen=True, slots=True)
class PhaseTrace:
    """What a run with few layers has shown."""

    sections: list[Section]
    frozen_bytes: int
    packed: int


def run_phases(
    base: Base, depth: int, assemble: Assemble, given: _Given, round_to: int, formulas: FormulaSections | None = None
) -> PhaseTrace:
    """The phases with `depth` layers."""
    recorder = Recorder(round_to, cuda=base.gpu, formulas=formulas)
    config = with_layers(base.config, depth)
    with _collecting_on_demand(), recorder.recording():
        frozen_bytes, packed = _load_train_answer(recorder, base, config, assemble, given)
    return PhaseTrace(recorder.sections, frozen_bytes, packed)


@contextlib.contextmanager
def _collecting_on_demand() -> Iterator[None]:
    """Inside, Python collects garbage only when it is told to, and looks at new objects alone.

    It frees what is in cycles when it pleases, and two depths must free it at the same instants. Looking at all that
    the libraries have made would take a tenth of a second each time.
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


def _load_train_answer(
    recorder: Recorder, base: Base, config: Any, assemble: Assemble, given: _Given
) -> tuple[int, int]:
    """Bytes of frozen linears in the decoder, and how many of them were packed."""
    recorder.begin("load")
    loaded = build_fake_model(
        config, name=base.name, precision=base.precision, dtype=base.dtype,
        device=torch.device("cpu"), stored_dtype=base.stored_dtype, tokenizer=base.tokenizer,
    )  # fmt: skip
    watched = TracedModel(loaded, recorder)
    recorder.begin("attach")
    tuned = assemble(watched)
    gc.collect()
    recorder.begin("optimizer")
    optimizer = TracedOptimizer(recorder, tuned.groups())
    work, workload = TracedWork(recorder, tuned.readout), given.to(tuned.readout)
    watched.model.train()
    # Optimizer state is made in the first step, so the second is like all that follow; its update is any step's.
    for micro_batches in (workload.typical, workload.largest):
        gc.collect()  # recomputed blocks leave cycles behind
        optimizer_step(work, optimizer, micro_batches[:MICRO_BATCHES], max_grad_norm=1.0)
    watched.model.eval()
    gc.collect()
    watched.watch(workload.max_new_tokens)
    with contextlib.suppress(StopTracing):
        tuned.predict(workload.asked)
    return _frozen_bytes(watched), watched.packed


def _allocated(section: Section) -> float:
    """Bytes by which what is alive rose, one operation after the other."""
    live = section.live_bytes
    return float(sum(max(0, b - a) for a, b in itertools.pairwise(live)))


def _frozen_bytes(loaded: LoadedModel) -> int:
    """Bytes of the frozen weights and biases of the decoder's linear layers; a prepacked second copy is not counted."""
    total = 0
    for layer in map(as_linear_layer, loaded.linears().values()):
        total += layer.weight_bytes if layer.weight_frozen else 0
        if layer.bias is not None and not layer.bias.requires_grad:
            total += layer.bias.numel() * layer.bias.element_size()
    return total


def _effort(pairs: Sequence[tuple[Section, Section]], more: int) -> Cost:
    """That of the sections together, at full depth."""
    counts: dict[float, list[float]] = {}
    loop = moved = unpacked = operations = 0.0
    for side, sections in enumerate(zip(*pairs, strict=True)):
        weight = more if side else 1 - more
        for section in sections:
            for flops in section.product_flops:
                if flops:
                    counts.setdefault(flops, [0.0])[0] += weight
            loop += weight * sum(section.loop_flops)
            moved += weight * sum(section.moved_bytes)
            unpacked += weight * sum(section.unpacked_bytes)
            operations += weight * len(section.live_bytes)
    return Cost(tuple((flops, count[0]) for flops, count in counts.items()), loop, moved, unpacked, operations)
