"""Changes that make a run fit, each checked by a plan of its own, with its cost in time.

They are tried in ascending order of their effect on what is learned: smaller micro-batches with the same batch and
activation checkpointing (no effect), the update fused into the backward (where gradients are clipped), shorter texts,
adapters in fewer layers, 8-bit moments, no fp32 master weights, a 4-bit base.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semtune.errors import SemtuneError
from semtune.models.fake_model import about_parameters
from semtune.models.locate import locate_config
from semtune.models.sources.published import shape_names
from semtune.plan.planner import Estimate, Planner, spill_bytes
from semtune.records import Advice, LowRankSettings, RunSpec
from semtune.specs import method_settings, with_changes

ENOUGH = 3
"""Number of changes that are shown at most."""
_MIN_WHOLE_TEXTS = 0.5
"""A shorter `max_length` is advised only if it leaves at least this share of the texts whole."""
_WITHOUT_MASTERS = 6 / 12
"""Bytes of a bf16 weight with bf16 moments (6), over those with residual bits of a master and fp32 moments (12)."""
_WITH_8_BITS = 6 / 12
"""The same for 8-bit moments (2 bytes of 8). Their scales, 1/32 byte each, are left out."""
_FEW_TARGETS = ("q_proj", "v_proj")


def advise(planner: Planner, spec: RunSpec, lengths: Sequence[int] = ()) -> tuple[Advice, ...]:
    """Changes that make `spec` fit; empty where it fits already or no known change makes it fit.

    Args:
        lengths: tokens of every training text; empty where they are not known.
    """
    current = planner.estimate(spec)
    if current.fits:
        return ()
    found: list[Advice] = []
    for change, text in _single_changes(planner, current, lengths):
        _try(planner, current, change, text, found)
    if not found:
        for change, text in _joint_changes(planner, current):
            if len(found) == ENOUGH:
                break
            _try(planner, current, change, text, found)
    return tuple(sorted(found, key=lambda a: a.seconds_factor or 0.0)[:ENOUGH])


def largest_batch(planner: Planner, spec: RunSpec) -> int:
    """The largest micro-batch (in texts) that fits, all else as in `spec`; 0 where a single text does not."""
    one = planner.estimate(dataclasses.replace(spec, batch_size=1))
    if not one.fits:
        return 0
    trial = max(2, spec.batch_size)
    more = planner.estimate(dataclasses.replace(spec, batch_size=trial))
    slope = (more.peak_bytes["train"] - one.peak_bytes["train"]) / (trial - 1)
    free = one.memory_bytes - one.peak_bytes["train"]
    return max(1, 1 + math.floor(free / slope)) if slope > 0 else trial


def largest(planner: Planner, spec: RunSpec) -> dict[str, Any]:
    """About the largest batch_size and max_length that fit, each with all else as in `spec`, or a smaller model.

    One plan is scaled: activations grow with the tokens of a step, weights and state with the model's parameters.
    """
    current = planner.estimate(spec)
    free = current.memory_bytes - current.highest_bytes
    activations = max(1, current.trace.activation_bytes)
    share = 1 + free / activations / 1.4  # 1.4: heap fragmentation grows with activations too
    found: dict[str, Any] = {}
    if share * spec.batch_size >= 1:
        found["batch_size"] = int(share * spec.batch_size)
    tokens_per_text = current.trace.step_tokens / max(1, spec.batch_size * spec.accumulation_steps)
    limit = getattr(planner.request.config.get_text_config(), "max_position_embeddings", None)
    if share * tokens_per_text >= 8:
        found["max_length"] = min(int(share * tokens_per_text), int(limit or share * tokens_per_text))
    if not current.fits:
        scale = current.memory_bytes / current.highest_bytes
        most = scale * (about_parameters(planner.request.config) or 0)
        shapes = {name: about_parameters(locate_config(f"shape:{name}")) for name in shape_names()}
        fitting = {name: n for name, n in shapes.items() if n is not None and n <= most}
        if fitting:
            found["model"] = f"shape:{max(fitting, key=lambda name: fitting[name])}"
    return found


def _try(planner: Planner, current: Estimate, change: Mapping[str, Any], text: str, found: list[Advice]) -> None:
    try:
        changed = planner.estimate(with_changes(current.spec, change))
    except SemtuneError:  # the method refuses the change
        return
    if not changed.fits:
        return
    factor = None
    if current.seconds and changed.seconds:
        factor = changed.seconds / current.seconds
    found.append(Advice(text, dict(change), changed.highest_bytes, factor))


def _state_fits(planner: Planner, spec: RunSpec) -> bool:
    """Whether the method accepts `spec`, and its weights and optimizer state fit."""
    try:
        return planner.estimate(spec).state_fits
    except SemtuneError:
        return False


def _single_changes(
    planner: Planner, current: Estimate, lengths: Sequence[int]
) -> Iterator[tuple[dict[str, Any], str]]:
    spec = current.spec
    if current.state_fits:  # otherwise only a smaller state helps
        yield from _smaller_batches(planner, current)
        if not spec.activation_checkpointing:
            yield (
                {"activation_checkpointing": True},
                "activations computed again in backward (--activation-checkpointing)",
            )
        if _fusing_saves(current):
            yield {"fused_update": True}, "each gradient used as soon as it is there (--fused-update)"
        yield from _shorter_texts(current, lengths)
    spilled = spill_bytes(current, planner.request.device)
    if spilled:
        gigabytes = math.ceil(spilled / 1e8) / 10
        yield (
            {"offload_bytes": round(gigabytes * 1e9)},
            f"{gigabytes:.1f} GB of frozen weights waiting in main memory (--offload-gb {gigabytes:.1f})",
        )
    yield from _smaller_states(current)


def _fusing_saves(current: Estimate) -> bool:
    """Whether most weights are trained, so that their gradients take memory, and the step has no others to add."""
    spec, frozen = current.spec, current.trace.frozen_bytes
    return not spec.fused_update and spec.accumulation_steps == 1 and current.trace.kept_bytes > 2 * frozen


def _smaller_batches(planner: Planner, current: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    """The largest micro-batch that fits and divides the batch."""
    spec = current.spec
    most = min(largest_batch(planner, spec), spec.batch_size - 1)
    size = next((n for n in range(most, 0, -1) if spec.batch_size % n == 0), 0)
    if size:
        steps = spec.accumulation_steps * spec.batch_size // size
        yield (
            {"batch_size": size, "accumulation_steps": steps},
            f"micro-batches of {size}, {steps} to a step (--batch-size {size} --accumulation-steps {steps})",
        )


def _shorter_texts(current: Estimate, lengths: Sequence[int]) -> Iterator[tuple[dict[str, Any], str]]:
    """A shorter `max_length`, assuming that memory beyond weights and state grows with the tokens of a step."""
    transient = current.peak_bytes["train"] - current.fixed_bytes - current.trace.kept_bytes
    available = current.tensor_memory_bytes - current.trace.kept_bytes
    share = available / transient if transient > 0 else 1.0
    max_tokens = max(lengths, default=current.spec.max_length)
    cap = int(0.9 * share * max_tokens)
    if not 8 <= cap < max_tokens:
        return
    text = f"texts of at most {cap} tokens (--max-length {cap})"
    if lengths:
        cut = sum(n > cap for n in lengths) / len(lengths)
        if 1 - cut < _MIN_WHOLE_TEXTS:
            return
        text += f", which cuts {cut:.0%} of them"
    yield {"max_length": cap}, text


def _smaller_states(current: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    settings, frozen = method_settings(current.spec), current.trace.frozen_bytes
    # A change is not planned where even its largest possible saving would not suffice.
    trained = current.trace.kept_bytes - frozen
    narrower = isinstance(settings, LowRankSettings) and settings.targets != _FEW_TARGETS
    if narrower and 0 < frozen < current.tensor_memory_bytes:
        yield {"targets": _FEW_TARGETS}, "adapters on q and v alone (--targets q_proj,v_proj)"
    if (
        current.spec.optimizer == "adamw"
        and trained > frozen
        and frozen + _WITH_8_BITS * trained < current.tensor_memory_bytes
    ):
        yield {"optimizer": "adamw-8bit"}, "moments in 8 bits (--optimizer adamw-8bit)"
    if settings.master_weights and frozen + _WITHOUT_MASTERS * trained < current.tensor_memory_bytes:
        yield {"master_weights": False}, "no fp32 masters, which may cost quality (--no-master-weights)"
    if frozen and settings.precision != "nf4":
        yield {"precision": "nf4"}, "a base in 4 bits (--precision nf4)"


def _joint_changes(planner: Planner, current: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    """All changes that cost only time, first alone, then together with each smaller state."""
    spec = current.spec
    steps = spec.accumulation_steps * spec.batch_size
    slow = {"batch_size": 1, "accumulation_steps": steps, "activation_checkpointing": True}
    words = f"one text at a time, {steps} to a step, activations computed again"
    if current.state_fits:
        yield slow, f"{words} (--batch-size 1 --accumulation-steps {steps} --activation-checkpointing)"
    for change, text in _smaller_states(current):
        if not _state_fits(planner, with_changes(spec, change)):
            continue
        yield (
            {**change, "activation_checkpointing": True},
            f"{text}, activations computed again (--activation-checkpointing)",
        )
        if _fusing_saves(current):
            yield (
                {**change, "activation_checkpointing": True, "fused_update": True},
                f"{text}, activations computed again, each gradient used as soon as it is there "
                "(--activation-checkpointing --fused-update)",
            )
        yield (
            {**slow, **change},
            f"{text}; {words} (--batch-size 1 --accumulation-steps {steps} --activation-checkpointing)",
        )
