"""Checks of what combines, before anything runs: prompts, readouts and so on with targets, methods with readouts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from semtune import registry
from semtune.contracts import trains_readout_alone
from semtune.errors import OptionError
from semtune.records import TargetKind, TargetSpace

KIND_WORDS: dict[TargetKind, str] = {
    "label_set": "sets of labels",
    "single_label": "one label a text",
    "spans": "labelled spans",
    "text": "free texts",
}
"""Kind of target -> its name in messages."""


def check_serves(kind: TargetKind, what: str, name: str, target_kinds: Collection[TargetKind]) -> None:
    """Check that a registered object supports the task's kind of target.

    Args:
        kind: the task's kind of target.
        what: the kind of a registry, e.g. "readout".
        name: a name in that registry.
        target_kinds: the kinds that the object supports.

    Raises:
        OptionError: it does not; the message lists the registered objects that do.
    """
    if kind in target_kinds:
        return
    others = [other for other in _registry(what) if kind in _registry(what).get(other).target_kinds]
    choice = f"choose {' or '.join(others)}" if others else f"no {what} that is registered serves them"
    serves = " or ".join(words for known, words in KIND_WORDS.items() if known in target_kinds)
    raise OptionError(f'The {what} "{name}" is for tasks of {serves}, but this task has {KIND_WORDS[kind]}; {choice}.')


def check_combination(prompt: str, readout: str, space: TargetSpace) -> None:
    """Check that a prompt and a readout, by name, support a task's targets and work together. No model is loaded.

    Raises:
        OptionError: they do not; the message lists what does. UnknownNameError: an unknown name.
    """
    prompt_class: Any = registry.PROMPTS.get(prompt)
    readout_class: Any = registry.READOUTS.get(readout)
    check_serves(space.kind, "prompt", prompt, prompt_class.target_kinds)
    check_serves(space.kind, "readout", readout, readout_class.target_kinds)
    if readout_class.needs_grammar and prompt_class(space, prompt_class.Settings()).grammar() is None:
        others = [
            other
            for other in registry.READOUTS
            if space.kind in registry.READOUTS.get(other).target_kinds
            and not registry.READOUTS.get(other).needs_grammar
        ]
        raise OptionError(
            f'The readout "{readout}" needs a prompt with a grammar, which "{prompt}" does not have; '
            f"choose {' or '.join(others)}."
        )


def check_trains(method: str, readout: str) -> None:
    """Check that a method and a readout, by name, have parameters to train between them. No model is loaded.

    Raises:
        OptionError: they have none; the message lists the readouts that have. UnknownNameError: an unknown name.
    """
    if not trains_readout_alone(registry.METHODS.get(method)) or _has_parameters(readout):
        return
    others = " or ".join(f"--readout {other}" for other in registry.READOUTS if _has_parameters(other))
    raise OptionError(
        f'The method "{method}" trains the readout alone, and the readout "{readout}" has nothing to train; give '
        f"{others}, or another --method."
    )


def _has_parameters(readout: str) -> bool:
    """Whether the readout of that name declares parameters of its own."""
    return bool(getattr(registry.READOUTS.get(readout), "has_parameters", False))


def _registry(what: str) -> registry.Registry:
    """The registry whose `kind` is `what`."""
    return next(r for r in vars(registry).values() if isinstance(r, registry.Registry) and r.kind == what)
