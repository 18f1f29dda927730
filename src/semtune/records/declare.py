"""`option`: a dataclass field that says what it means, in which unit, and how the command line spells it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that an option accepts; None: no bound on that side. No option accepts NaN or infinity."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def contain(self, value: float) -> bool:
        """Whether `value` is finite and within the bounds. Integers of any size are compared exactly."""
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def words(self, show: Callable[[float], str] = "{:,}".format) -> str:
        """The bounds for a message, such as "at least 0 and below 1"; `show` writes a number."""
        parts = [
            f"{name} {show(bound)}"
            for name, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        return " and ".join(parts) or "a finite number"


def option(
    default: Any = MISSING,
    *,
    help: str,
    unit: str | None = None,
    panel: str | None = None,
    old_flags: tuple[str, ...] = (),
    choices: tuple[str, ...] = (),
    default_factory: Callable[[], Any] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    per_call: bool = False,
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
        at_least, at_most, above, below: bounds of a number; `specs.record_from` checks them. NaN and infinity are
            refused in any case.
        per_call: the value is given with each call anew: it is written to no file, read from none, and two records
            that differ in it alone are equal.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "panel": panel,
        "old_flags": old_flags,
        "choices": choices,
        "bounds": Bounds(at_least, at_most, above, below),
        "per_call": per_call,
    }
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata, compare=not per_call)
    if default is MISSING:
        return field(metadata=metadata, compare=not per_call)
    return field(default=default, metadata=metadata, compare=not per_call)
