"""The learning-rate schedule: linear warm-up, then half a cosine to zero (Loshchilov & Hutter 2016, equation 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from semtune.errors import OptionError


class Schedule:
    """Computes the factor of all learning rates at each optimizer step.

    Args:
        total_steps: optimizer steps of the whole training; the factor is 0 from there on.
        warmup_fraction: share of `total_steps` that warms up; at least one step does.
    """

    def __init__(self, total_steps: int, warmup_fraction: float) -> None:
        self.total_steps = total_steps
        self.warmup_steps = max(1, round(warmup_fraction * total_steps))
        self.step = 0
        """Number of optimizer steps made."""

    def factor(self) -> float:
        """The factor of the next step, 0 to 1."""
        return schedule_factor(self.step, self.warmup_steps, self.total_steps)

    def advance(self) -> None:
        """Count one optimizer step; called after each."""
        self.step += 1

    def state_dict(self) -> dict[str, int]:
        """The step, and the lengths that `load_state_dict` compares."""
        return {"step": self.step, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}

    def load_state_dict(self, saved: Mapping[str, int]) -> None:
        """Continue at the saved step. Raises OptionError where the training that wrote it had another length."""
        for name in ("warmup_steps", "total_steps"):
            if saved[name] != getattr(self, name):
                raise OptionError(
                    f"The training to go on with has {saved[name]} {name.replace('_', ' ')}, this one has "
                    f"{getattr(self, name)}; give the data, batch size and epochs that it began with."
                )
        self.step = int(saved["step"])


def schedule_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear from 1/warmup to 1, then half a cosine to 0 at `total_steps`; `step` counts from 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
