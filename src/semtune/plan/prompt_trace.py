"""Prompting traced on fake tensors: loading, the engine's largest forwards, decoding with full caches.

The traced code is the run's own: the loader fills the model, the engine admits requests and forms groups behind shared
beginnings. Of all forwards three kinds are traced: the first prefill with what its prompts share, a decoding step of
as many requests as memory and texts in flight allow, each as long as it can get, and one of scoring.
"""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semtune.generation.decoding import Request
from semtune.generation.engine import FORWARD_TOKENS, Engine, PromptRequest
from semtune.models.approximate_tokenizer import ApproximateTokenizer
from semtune.models.fake_model import build_fake_model, layer_count, with_layers
from semtune.models.loaded import TransformersModel
from semtune.models.locate import vocab_size
from semtune.nn.packed_batch import PackedBatch
from semtune.plan import extrapolate
from semtune.plan.cost import Cost, cost_of
from semtune.plan.history import Section
from semtune.plan.phases import Base, allocated_bytes, frozen_bytes, manual_garbage_collection
from semtune.plan.prompt_calls import PromptCall
from semtune.plan.recorder import FormulaSections, Recorder
from semtune.plan.trace import Pairs
from semtune.plan.traced import TracedModel

FORWARD, BETWEEN = "forward", "between"
"""Names of the sections of a forward's hidden states or logits, and of what follows it."""


@dataclass(frozen=True, slots=True)
class PromptWork:
    """The calls that are traced: those of the texts in flight together that take the most memory."""

    generation: Sequence[PromptCall]
    """One for each of the longest texts, as many as fill a forward; empty: the strategy generates nothing."""
    requests: int
    """Prompts of all texts in flight."""
    scoring: Sequence[PromptCall]
    """The same for scoring."""
    max_bytes: int
    """Of keys and values; see `engine.Engine`."""
    prepack: bool | None
    """As in `LoadedModel.prepack_frozen`."""
    machine_bytes: int
    """Memory of the machine that runs it."""


@dataclass(frozen=True, slots=True)
class PromptTrace:
    """Memory and cost of prompting with all layers."""

    load_bytes: int
    """Peak of live tensor bytes while the model is loaded."""
    kept_bytes: int
    """Live bytes of the loaded model."""
    frozen_bytes: int
    """Bytes of the blocks' linear weights."""
    prepacked: bool
    """Whether the weights are prepacked."""
    token_bytes: int
    """Bytes of a token's keys and values; 0: the model stores a state of one size instead."""
    cache_bytes: int
    """Live bytes of keys and values with all requests at their longest."""
    activation_bytes: int
    """Most bytes that a forward has beside the model and `cache_bytes`."""
    turnover_bytes: int
    """Bytes that the largest forward allocates, including those that it frees again."""
    rows: int
    """Requests that decode in one forward."""
    prompt_token: Cost | None
    """Cost of one token of a prompt; None: nothing is generated."""
    decoding_step: Cost | None
    """Cost of a decoding step of `rows` requests; None: nothing is generated, or one token alone."""
    scored_token: Cost | None
    """Cost of one token of scoring; None: nothing is scored."""


def trace_prompting(base: Base, work: PromptWork, *, round_to: int = 64) -> PromptTrace:
    """Trace prompting with few layers on fake tensors and extrapolate it to all layers.

    Args:
        round_to: the device's allocator rounds every tensor up to a multiple of so many bytes.

    Raises what loading raises.
    """
    layers = layer_count(base.config)
    depth = extrapolate.shallow_layers(layers, activation_checkpointing=False)
    formulas: FormulaSections = {}
    shallow, deep = (_run(base, n, layers, work, round_to, formulas) for n in (depth, depth + 1))
    more = layers - depth
    pairs = extrapolate.match(shallow.sections, deep.sections)
    prefill, decode, scoring = (pairs[slice(*shallow.parts[name])] for name in ("prefill", "decode", "scoring"))

    def start(pair: tuple[Section, Section]) -> int:
        return extrapolate.extrapolated(pair[0].live_bytes[0], pair[1].live_bytes[0], more)

    def peak(pair: tuple[Section, Section]) -> int:
        return extrapolate.peak_bytes(*pair, more)

    def cost(some: Pairs, tokens: int) -> Cost | None:
        return cost_of(some, more).times(1 / tokens) if some else None

    kept = extrapolate.extrapolated(shallow.kept_bytes, deep.kept_bytes, more)
    full = start(decode[0]) if decode else kept
    # A chunk of new prompts runs beside requests in flight; beginnings that prompts share run before all of them.
    beside = [full + peak(pair) - start(pair) for pair in prefill[-4:] if pair[0].name == FORWARD]
    highest = max([full, *beside, *(peak(pair) for pair in (*prefill, *decode, *scoring))])
    return PromptTrace(
        load_bytes=max(peak(pair) for pair in pairs[: shallow.loaded]),
        kept_bytes=kept,
        frozen_bytes=extrapolate.extrapolated(shallow.frozen_bytes, deep.frozen_bytes, more),
        prepacked=shallow.prepacked > 0,
        token_bytes=extrapolate.extrapolated(shallow.token_bytes, deep.token_bytes, more),
        cache_bytes=full - kept,
        activation_bytes=highest - full,
        turnover_bytes=max(
            (round(extrapolate.total(a, b, more, allocated_bytes)) for a, b in (*prefill, *scoring)), default=0
        ),
        rows=shallow.rows,
        prompt_token=cost(prefill, shallow.tokens["prefill"]),
        decoding_step=cost(decode, 1),
        scored_token=cost(scoring, shallow.tokens["scoring"]),
    )


@dataclass(slots=True)
class _Run:
    """A traced run with few layers."""

    sections: list[Section]
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sections of each part, as a half-open range; an empty one for what the strategy does not do."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens that each part's forwards read."""
    loaded: int = 0
    """Number of sections until the model is loaded."""
    kept_bytes: int = 0
    frozen_bytes: int = 0
    prepacked: int = 0
    token_bytes: int = 0
    rows: int = 0


def _run(base: Base, depth: int, layers: int, work: PromptWork, round_to: int, formulas: FormulaSections) -> _Run:
    """Trace loading and the three kinds of forwards with `depth` of `layers` layers."""
    recorder = Recorder(round_to, cuda=base.gpu, formulas=formulas)
    config = with_layers(base.config, depth)
    with manual_garbage_collection(), recorder.recording():
        recorder.begin("load")
        loaded = build_fake_model(
            config, name=base.name, precision=base.precision, dtype=base.dtype, device=torch.device("cpu"),
            stored_dtype=base.stored_dtype, tokenizer=_never_ending(base), frozen=True,
        )  # fmt: skip
        traced = _TracedForwards(loaded, recorder)
        traced.model.requires_grad_(False).eval()
        traced.prepack_frozen(work.prepack, memory_bytes=work.machine_bytes, backward=False)
        gc.collect()
        done = _Run(recorder.sections, loaded=len(recorder.sections), kept_bytes=recorder.live_bytes)
        done.frozen_bytes, done.prepacked = frozen_bytes(traced), traced.prepacked
        engine = _TracedEngine(traced, work.max_bytes * depth // layers, lambda: 0.0)
        done.token_bytes = engine.token_bytes
        _generate(engine, work, traced, done)
        if work.scoring and work.generation:
            engine = _TracedEngine(traced, work.max_bytes * depth // layers, lambda: 0.0)
            gc.collect()
        with _part("scoring", traced, done):
            if work.scoring:
                for call in work.scoring:
                    engine.scoring(call.prompts, call.completions)
                engine.step()
    return done


def _never_ending(base: Base) -> ApproximateTokenizer:
    """A tokenizer whose end-of-sequence is not token 0, which fake logits always generate."""
    return ApproximateTokenizer(vocab_size(base.config))


def _generate(engine: _TracedEngine, work: PromptWork, traced: _TracedForwards, done: _Run) -> None:
    """One step of prefill, and one with all requests in flight at their longest."""
    for call in work.generation:
        engine.generation(call.prompts, call.new_tokens)
    with _part("prefill", traced, done):
        if work.generation:
            engine.step()
    gc.collect()
    done.rows = engine.fill(work.requests)
    gc.collect()
    with _part("decode", traced, done):
        if done.rows:
            engine.step()


@contextlib.contextmanager
def _part(name: str, traced: _TracedForwards, done: _Run) -> Iterator[None]:
    """The sections that begin inside are this part's."""
    first, traced.tokens = len(done.sections), 0
    yield
    done.parts[name], done.tokens[name] = (first, len(done.sections)), traced.tokens


class _TracedForwards(TracedModel):
    """A model each of whose forwards is a section; what the engine does between them goes through the layers again."""

    tokens = 0
    """Tokens that forwards have read."""

    def hidden_states(
        self, input_ids: Tensor, batch: PackedBatch, query_indices: Sequence[int] | None = None
    ) -> Tensor:
        self._recorder.begin(FORWARD)
        self.tokens += len(input_ids)
        hidden = TransformersModel.hidden_states(self, input_ids, batch, query_indices)
        self._recorder.begin(BETWEEN)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        self._recorder.begin(FORWARD)
        logits = TransformersModel.logits(self, hidden)
        self._recorder.begin(BETWEEN)
        return logits


class _TracedEngine(Engine):
    """An engine whose requests can be copied, so that decoding them all takes one prefill."""

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return self._token_bytes

    def fill(self, count: int) -> int:
        """Have `count` requests in flight, or as many as fit, all as long as the longest gets; how many they are.

        A request with more than `FORWARD_TOKENS` tokens of its own is never admitted beside others.
        """
        waiting, self._waiting = self._waiting, []
        if not self._groups:
            return 0
        stem, group = max(self._groups.items(), key=lambda item: len(item[1].requests))
        self._groups = {stem: group}
        requests = [r for r in (*group.requests, *waiting) if isinstance(r, PromptRequest)]
        longest = max(len(r.prompt_ids) - stem.tokens for r in requests)
        own = longest + max(r.max_new_tokens for r in requests)
        free = self.max_bytes - self._kept.max_bytes
        fitting = free // (own * self._token_bytes) if self._token_bytes else count
        rows = 1 if longest > FORWARD_TOKENS else max(1, min(count, fitting))
        group.cache.keep([row % len(group.requests) for row in range(rows)])
        group.requests = [_copied(group.requests[row % len(group.requests)]) for row in range(rows)]
        group.cache.grow(max(0, own - 1 - (max(group.cache.lengths) - stem.tokens)))
        return rows


def _copied(request: Request) -> Request:
    """A request of its own in the same state."""
    copied = copy.copy(request)
    copied.generated_ids = list(request.generated_ids)
    return copied
