"""Plans of prompting: bytes of the model, of keys and values, of a forward; seconds of an example."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from semtune.approaches.prompted import CACHE_SHARE, TEXTS_IN_FLIGHT, Prompted
from semtune.contracts import TaskContext, ThresholdStrategy, Tokenizer
from semtune.errors import OptionError
from semtune.generation.engine import FORWARD_TOKENS
from semtune.generation.loglikelihood import FORWARD_TOKENS as SCORED_TOKENS
from semtune.generation.loglikelihood import count_nodes
from semtune.measure.machine import total_memory_bytes
from semtune.models.loading import dtype_of
from semtune.models.locate import conversion_bytes, locate_config, planning_tokenizer, stored_dtype
from semtune.plan import overhead
from semtune.plan.devices import CUDA_ROUNDING_BYTES, Device
from semtune.plan.phases import Base
from semtune.plan.planner import CPU_ROUNDING_BYTES
from semtune.plan.prompt_calls import (
    PromptCall,
    answer_tokens,
    calls_of,
    fit_without_model,
    tokens_per_text,
)
from semtune.plan.prompt_trace import PromptTrace, PromptWork, trace_prompting
from semtune.plan.speed import Rates
from semtune.records import Example, Plan, RunSpec
from semtune.registry import PROMPTS
from semtune.specs import prompt_settings
from semtune.specs.precision import AUTO
from semtune.specs.settings import PRECISION

TRAINING_TEXTS = 512
"""Training texts that a strategy reads for a plan, evenly spaced: enough for prompts of the usual length."""
LONGEST_TEXTS = 16
"""Texts whose calls are noted for the memory, the longest first: about as many as fill a forward."""
USUAL_TEXTS = 8
"""Texts whose calls are noted for the mean seconds of an example, evenly spaced."""


@dataclass(frozen=True, slots=True)
class PromptingData:
    """What a plan of prompting depends on beside spec and device."""

    context: TaskContext
    train: Sequence[Example]
    predicted: Sequence[Sequence[Example]]
    """Examples that the run predicts, by split: those of one split are in flight together."""

    @property
    def texts(self) -> int:
        """Number of examples that the run predicts."""
        return sum(map(len, self.predicted))


@dataclass(frozen=True, slots=True)
class _Calls:
    """The noted calls of a run."""

    longest: list[list[PromptCall]]
    """Of the longest texts."""
    in_flight: int
    """Number of texts in flight together, all of which are taken to be like the longest ones."""
    usual: list[list[PromptCall]]
    usual_answer_tokens: float
    longest_answer_tokens: int
    """Of the gold answers of training texts."""
    embeds: bool
    """Whether the training texts are embedded by the model."""


def plan_prompting(
    spec: RunSpec, request: PromptingData, device: Device, rates: Rates | None, runtime_bytes: int
) -> tuple[Plan, str | None]:
    """The plan of a resolved spec, and a note on the tokens. Raises SemtuneError.

    Args:
        runtime_bytes: resident bytes of a process after its imports.
    """
    config = locate_config(spec.model, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    tokenizer, note = planning_tokenizer(
        spec.model, config, trust_remote_code=spec.trust_remote_code, revision=spec.revision
    )
    on_gpu = device.kind == "cuda"
    approach = Prompted(spec, request.context)
    if not approach.plannable:
        raise OptionError(f"The strategy {spec.strategy} asks no model here, so there is nothing to plan; just run it.")
    in_flight = TEXTS_IN_FLIGHT[on_gpu]
    calls = _noted(spec, approach, request, tokenizer, int(config.get_text_config().hidden_size), in_flight)
    texts_alike = calls.in_flight / max(1, len(calls.longest))
    max_bytes = (device.memory_bytes if on_gpu else total_memory_bytes()) // CACHE_SHARE
    precision = spec.method_options.get(PRECISION, AUTO)
    base = Base(
        config=config, name=spec.model, precision=precision, dtype=dtype_of(precision, bf16=device.native_bf16),
        gpu=on_gpu, stored_dtype=stored_dtype(spec.model, config), tokenizer=tokenizer, frozen=True,
    )  # fmt: skip
    generation = _heaviest_round(calls.longest, scoring=False)
    work = PromptWork(
        _one_prefill(generation, tokens_per_text([[call] for call in generation], 0).prompt),
        math.ceil(texts_alike * sum(len(call.prompts) for call in generation)),
        _one_forward(_heaviest_round(calls.longest, scoring=True)),
        max_bytes,
        prepack=False if on_gpu else spec.prepack,
        machine_bytes=total_memory_bytes(),
    )
    trace = trace_prompting(base, work, round_to=CUDA_ROUNDING_BYTES if on_gpu else CPU_ROUNDING_BYTES)
    kept_bytes = _kept_bytes(calls, trace, max_bytes)
    peaks = overhead.prompting_peak_bytes(trace, device, runtime_bytes, kept_bytes=kept_bytes)
    if not on_gpu:
        peaks["load"] = max(peaks["load"], runtime_bytes + conversion_bytes(spec.model))
    if _threshold_examples(approach, request):
        peaks["train"] = peaks["evaluate"]
    elif calls.embeds:
        peaks["train"] += trace.activation_bytes
    seconds = None if rates is None else _seconds(calls, [len(split) for split in request.predicted], trace, rates)
    return Plan(
        method=str(spec.strategy),
        fits=max(peaks.values()) <= device.memory_bytes,
        peak_bytes=dict[str, int](**peaks),
        cache_bytes=trace.cache_bytes + kept_bytes,
        seconds_per_example=seconds / request.texts if seconds is not None and request.texts else None,
        predict_seconds=seconds,
    ), note


def _noted(
    spec: RunSpec, approach: Prompted, request: PromptingData, tokenizer: Tokenizer, hidden: int, in_flight: int
) -> _Calls:
    """The calls of the longest texts and of usual ones."""
    labelled = [e for e in request.train if e.target is not None]
    embeds = fit_without_model(approach.strategy, _spaced(labelled, TRAINING_TEXTS), tokenizer, hidden)
    asked = [*request.predicted, _threshold_examples(approach, request)]
    in_flight = min(in_flight, max(map(len, asked)))
    predicted = [e for split in request.predicted for e in split] or request.train
    longest = sorted(itertools.chain(*asked), key=lambda e: -len(e.text))[: min(in_flight, LONGEST_TEXTS)]
    noted, usual = (
        [calls_of(approach.strategy, e, tokenizer, hidden) for e in texts]
        for texts in (longest, _spaced(predicted, USUAL_TEXTS))
    )
    prompt = PROMPTS.get(spec.prompt)(request.context.space, prompt_settings(spec))
    mean_answer, longest_answer = answer_tokens(prompt, _spaced(labelled, USUAL_TEXTS), tokenizer)
    return _Calls(noted, in_flight, usual, mean_answer, longest_answer, embeds)


def _threshold_examples(approach: Prompted, request: PromptingData) -> list[Example]:
    """The training examples that are predicted to choose a threshold; [] where there is none to choose."""
    strategy = approach.strategy
    return strategy.threshold_examples(request.train) if isinstance(strategy, ThresholdStrategy) else []


def _spaced(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` examples, evenly spaced."""
    return [examples[i * len(examples) // count] for i in range(count)] if len(examples) > count else list(examples)


def _heaviest_round(texts: Sequence[Sequence[PromptCall]], *, scoring: bool) -> list[PromptCall]:
    """The calls that these texts make at the same time, of the time with the most tokens; [] where none is made."""
    rounds = [
        [calls[n] for calls in texts if n < len(calls) and bool(calls[n].completions) == scoring]
        for n in range(max(map(len, texts), default=0))
    ]
    return max(rounds, key=lambda calls: sum(_tokens(call) for call in calls), default=[])


def _tokens(call: PromptCall) -> int:
    """Tokens of a call's prompts and of what follows them, at most."""
    behind = count_nodes(call.completions) if call.completions else call.new_tokens
    return sum(len(ids) + behind for ids in call.prompts)


def _one_prefill(calls: Sequence[PromptCall], own_tokens: float) -> list[PromptCall]:
    """The longest of these calls, two at least, that fill a forward with `own_tokens` each."""
    count = max(2, math.ceil(FORWARD_TOKENS / max(1.0, own_tokens)))
    return sorted(calls, key=_tokens, reverse=True)[:count]


def _one_forward(calls: Sequence[PromptCall]) -> list[PromptCall]:
    """The longest of these calls, two at least, that fill a forward of scoring."""
    chosen: list[PromptCall] = []
    for call in sorted(calls, key=_tokens, reverse=True):
        if len(chosen) >= 2 and sum(map(_tokens, (*chosen, call))) > SCORED_TOKENS:
            break
        chosen.append(call)
    return chosen


def _kept_bytes(calls: _Calls, trace: PromptTrace, max_bytes: int) -> int:
    """Bytes of what is kept for the next calls of texts in flight, beside the requests of the heaviest round."""
    if all(len(text) < 2 for text in calls.longest):
        return 0
    tokens = tokens_per_text(calls.longest, usual_answer_tokens=float("inf"))
    all_bytes = calls.in_flight * (tokens.prompt + tokens.generated) * trace.token_bytes
    return int(min(max(all_bytes - trace.cache_bytes, 0), max_bytes // 2))


def _seconds(calls: _Calls, split_sizes: Sequence[int], trace: PromptTrace, rates: Rates) -> float:
    """Seconds of predicting all splits, one after the other.

    A split takes as many decoding steps as its longest answer at least, however many texts are in flight.
    """
    usual = tokens_per_text(calls.usual, calls.usual_answer_tokens)
    longest = tokens_per_text(calls.usual, calls.longest_answer_tokens).steps
    sizes, texts = [size for size in split_sizes if size], sum(split_sizes)
    parts = (
        (trace.prompt_token, texts * usual.prompt + len(sizes) * usual.shared),
        (trace.decoding_step, sum(max(longest, size * usual.generated / max(1, trace.rows)) for size in sizes)),
        (trace.scored_token, texts * usual.scored),
    )
    return sum(count * rates.seconds(cost, prepacked=trace.prepacked) for cost, count in parts if cost is not None)
