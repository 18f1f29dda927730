"""What each figure should reach, and how far it is from there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure."""

    bound: float
    at_least: bool
    """False: at most."""
    floor: float | None = None
    """A weaker bound that must hold in any case."""
    unit: str = "x"

    def __str__(self) -> str:
        floor = "" if self.floor is None else f" (floor {self.floor:g})"
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{floor}"

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def verdict(self, value: float | None) -> str:
        """ "met", or by how much it was missed, in per cent of the bound."""
        if value is None:
            return "no value"
        if self.met(value):
            return "met"
        words = f"missed by {100 * abs(value / self.bound - 1):.1f} %"
        if self.floor is None:
            return words
        holds = value >= self.floor if self.at_least else value <= self.floor
        return f"{words}, floor {'held' if holds else 'missed'}"


TARGETS: dict[str, Target] = {
    "train_lora_ratio": Target(5.0, True, floor=4.0),
    "train_lora_ratio_tuned": Target(3.0, True),
    "train_qlora_ratio": Target(3.0, True),
    "train_full_ratio": Target(3.3, True),
    "qlora_over_lora": Target(0.88, True),
    "qlora_cached_over_lora": Target(0.9, True),
    "dora_over_lora": Target(1.12, False),
    "mfu_lora": Target(0.72, True, unit=""),
    "predict_ratio": Target(7.0, True),
    "label_scoring_ratio": Target(6.0, True),
    "peak_memory_ratio": Target(0.5, False),
    "qlora_memory_ratio_1b": Target(0.65, False),
    "startup_seconds": Target(4.0, False, unit=" s"),
}
"""By figure, in the order of the table, on a processor that multiplies bf16."""
FP32_TARGETS: dict[str, Target] = TARGETS | {
    "train_lora_ratio": Target(4.0, True),
    "train_lora_ratio_tuned": Target(2.0, True),
    "train_full_ratio": Target(3.0, True),
    "qlora_over_lora": Target(0.85, True),
    "mfu_lora": Target(0.75, True, unit=""),
    "predict_ratio": Target(6.0, True),
    "label_scoring_ratio": Target(5.0, True),
    "peak_memory_ratio": Target(0.45, False),
    "startup_seconds": Target(5.0, False, unit=" s"),
}
"""On one that emulates bf16, where ours and peers compute in fp32."""
STEP_7B_PEAK = Target(6.5e9, False, unit=" bytes")
"""Of the 7B step, loading and the runtime included."""
MEASURED_ONCE = {"qlora_memory_ratio_1b"}
"""Memory of the same step hardly varies from run to run; these figures come from one run a side."""
