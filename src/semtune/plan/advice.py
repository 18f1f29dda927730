"""For what does not fit: the smallest changes after which it does, each tried by a plan of its own, with its cost.

Changes come in the order in which they change least of what is learned: smaller micro-batches of the same sum (none),
activations computed again (none), shorter texts, adapters in fewer layers, 8-bit moments, no fp32 masters, 4 bits.
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
from semtune.records import Advice, RunSpec
from semtune.specs import method_settings, with_changes

ENOUGH = 3
"""Pieces of advice that are worth a reader's time."""
_STAY_WHOLE = 0.5
"""Share of the texts that a length cap must not touch."""
_WITHOUT_MASTERS = 6 / 12
"""Of the bytes that a bf16 weight keeps: itself and bf16 moments; with a master its lower half and fp32 moments too."""
_WITH_8_BITS = 6 / 12
"""The same with moments in 8 bits, which take 2 of 8 bytes; a little more, as scales are left out."""
_FEW_TARGETS = ("q_proj", "v_proj")


def advise(planner: Planner, spec: RunSpec, lengths: Sequence[int] = ()) -> tuple[Advice, ...]:
    """Changes that make `spec` fit; empty where it fits, or where none of them does.

    Args:
        lengths: tokens of every training text, where they are known.
    """
    asked = planner.estimate(spec)
    if asked.fits:
        return ()
    found: list[Advice] = []
    for change, text in _single_changes(planner, asked, lengths):
        _try(planner, asked, change, text, found)
    if not found:
        for change, text in _joint_changes(planner, asked):
            if len(found) == ENOUGH:
                break
            _try(planner, asked, change, text, found)
    return tuple(sorted(found, key=lambda a: a.seconds_factor or 0.0)[:ENOUGH])


def largest_batch(planner: Planner, spec: RunSpec) -> int:
    """Texts that a micro-batch may have, all else being as in `spec`; 0: not even one fits."""
    one = planner.estimate(dataclasses.replace(spec, batch_size=1))
    if not one.fits:
        return 0
    trial = max(2, spec.batch_size)
    more = planner.estimate(dataclasses.replace(spec, batch_size=trial))
    slope = (more.peak_bytes["train"] - one.peak_bytes["train"]) / (trial - 1)
    room = one.memory_bytes - one.peak_bytes["train"]
    return max(1, 1 + math.floor(room / slope)) if slope > 0 else trial


def largest(planner: Planner, spec: RunSpec) -> dict[str, Any]:
    """About the largest batch_size and max_length that fit, each with all else as in `spec`; where none does, a model.

    From one plan: activations grow with the step's tokens, and what stands with the model's numbers.
    """
    asked = planner.estimate(spec)
    room = asked.memory_bytes - asked.highest_bytes
    grows = max(1, asked.trace.activation_bytes)
    share = 1 + room / grows / 1.4  # a little more is lost between chunks than is in tensors
    found: dict[str, Any] = {}
    if share * spec.batch_size >= 1:
        found["batch_size"] = int(share * spec.batch_size)
    longest = asked.trace.step_tokens / max(1, spec.batch_size * spec.accumulation_steps)
    limit = getattr(planner.request.config.get_text_config(), "max_position_embeddings", None)
    if share * longest >= 8:
        found["max_length"] = min(int(share * longest), int(limit or share * longest))
    if not asked.fits:
        scale = asked.memory_bytes / asked.highest_bytes
        most = scale * (about_parameters(planner.request.config) or 0)
        shapes = {name: about_parameters(locate_config(f"shape:{name}")) for name in shape_names()}
        fitting = {name: n for name, n in shapes.items() if n is not None and n <= most}
        if fitting:
            found["model"] = f"shape:{max(fitting, key=lambda name: fitting[name])}"
    return found


def _try(planner: Planner, asked: Estimate, change: Mapping[str, Any], text: str, found: list[Advice]) -> None:
    try:
        changed = planner.estimate(with_changes(asked.spec, change))
    except SemtuneError:  # a method that cannot do with it
        return
    if not changed.fits:
        return
    factor = None
    if asked.seconds and changed.seconds:
        factor = changed.seconds / asked.seconds
    found.append(Advice(text, dict(change), changed.highest_bytes, factor))


def _single_changes(planner: Planner, asked: Estimate, lengths: Sequence[int]) -> Iterator[tuple[dict[str, Any], str]]:
    spec = asked.spec
    if asked.has_room:  # else only a smaller state helps
        yield from _smaller_batches(planner, asked)
        if not spec.activation_checkpointing:
            yield (
                {"activation_checkpointing": True},
                "activations computed again in backward (--activation-checkpointing)",
            )
        yield from _shorter_texts(asked, lengths)
    spilled = spill_bytes(asked, planner.request.device)
    if spilled:
        gigabytes = math.ceil(spilled / 1e8) / 10
        yield (
            {"offload_bytes": round(gigabytes * 1e9)},
            f"{gigabytes:.1f} GB of frozen weights waiting in main memory (--offload-gb {gigabytes:.1f})",
        )
    yield from _smaller_states(asked)


def _smaller_batches(planner: Planner, asked: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    """The largest micro-batch that should fit, and divides the batch."""
    spec = asked.spec
    most = min(largest_batch(planner, spec), spec.batch_size - 1)
    size = next((n for n in range(most, 0, -1) if spec.batch_size % n == 0), 0)
    if size:
        steps = spec.accumulation_steps * spec.batch_size // size
        yield (
            {"batch_size": size, "accumulation_steps": steps},
            f"micro-batches of {size}, {steps} to a step (--batch-size {size} --accumulation-steps {steps})",
        )


def _shorter_texts(asked: Estimate, lengths: Sequence[int]) -> Iterator[tuple[dict[str, Any], str]]:
    """A cap on length, as long as memory allows if it grows with the step's tokens."""
    passing = asked.peak_bytes["train"] - asked.fixed_bytes - asked.trace.kept_bytes
    room = asked.room_bytes - asked.trace.kept_bytes
    share = room / passing if passing > 0 else 1.0
    longest = max(lengths, default=asked.spec.max_length)
    cap = int(0.9 * share * longest)
    if not 8 <= cap < longest:
        return
    text = f"texts of at most {cap} tokens (--max-length {cap})"
    if lengths:
        cut = sum(n > cap for n in lengths) / len(lengths)
        if 1 - cut < _STAY_WHOLE:
            return
        text += f", which cuts {cut:.0%} of them"
    yield {"max_length": cap}, text


def _smaller_states(asked: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    settings, frozen = method_settings(asked.spec), asked.trace.frozen_bytes
    # What would be too large even if the change took away all that it can is not planned.
    trained = asked.trace.kept_bytes - frozen
    if getattr(settings, "targets", _FEW_TARGETS) != _FEW_TARGETS and 0 < frozen < asked.room_bytes:
        yield {"targets": _FEW_TARGETS}, "adapters on q and v alone (--targets q_proj,v_proj)"
    if asked.spec.optimizer == "adamw" and trained > frozen and frozen + _WITH_8_BITS * trained < asked.room_bytes:
        yield {"optimizer": "adamw-8bit"}, "moments in 8 bits (--optimizer adamw-8bit)"
    if settings.master_weights and frozen + _WITHOUT_MASTERS * trained < asked.room_bytes:
        yield {"master_weights": False}, "no fp32 masters, which may cost quality (--no-master-weights)"
    if frozen and settings.precision != "nf4":
        yield {"precision": "nf4"}, "a base in 4 bits (--precision nf4)"


def _joint_changes(planner: Planner, asked: Estimate) -> Iterator[tuple[dict[str, Any], str]]:
    """All that costs only time, alone and then with each smaller state."""
    spec = asked.spec
    steps = spec.accumulation_steps * spec.batch_size
    slow = {"batch_size": 1, "accumulation_steps": steps, "activation_checkpointing": True}
    said = f"one text at a time, {steps} to a step, activations computed again"
    if asked.has_room:
        yield slow, f"{said} (--batch-size 1 --accumulation-steps {steps} --activation-checkpointing)"
    for change, text in _smaller_states(asked):
        if not planner.estimate(with_changes(spec, change)).has_room:
            continue
        yield (
            {**change, "activation_checkpointing": True},
            f"{text}, activations computed again (--activation-checkpointing)",
        )
        yield (
            {**slow, **change},
            f"{text}; {said} (--batch-size 1 --accumulation-steps {steps} --activation-checkpointing)",
        )
