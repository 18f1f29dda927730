"""Checks that a prompt, readout, baseline or strategy supports the task's kind of target, before anything runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from semtune import registry
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


def _registry(what: str) -> registry.Registry:
    """The registry whose `kind` is `what`."""
    return next(r for r in vars(registry).values() if isinstance(r, registry.Registry) and r.kind == what)
