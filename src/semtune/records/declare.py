"""`option`: a dataclass field that says what it means, in which unit, and how the command line spells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any


def option(
    default: Any = MISSING,
    *,
    help: str,
    unit: str | None = None,
    panel: str | None = None,
    old_flags: tuple[str, ...] = (),
    choices: tuple[str, ...] = (),
    default_factory: Callable[[], Any] | None = None,
) -> Any:
    """A dataclass field with the metadata from which command-line options, their help and lists are generated.

    Args:
        default: none: the field must be given.
        help: one sentence for a user.
        unit: of the value, e.g. "tokens" or "bytes".
        panel: heading under which `--help` shows the option; None: the command line's choice for this dataclass.
        old_flags: earlier spellings without dashes, e.g. "recompute"; accepted and not shown.
        choices: the values that semtune itself offers, where the type does not say so.
        default_factory: makes the default of each new object, in place of `default`.
    """
    metadata = {"help": help, "unit": unit, "panel": panel, "old_flags": old_flags, "choices": choices}
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata)
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)
