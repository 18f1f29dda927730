"""DoRA: LoRA on the direction of every weight row, its magnitude trained apart (Liu et al. 2024, arXiv:2402.09353)."""

from __future__ import annotations

from semtune.methods._low_rank import LowRankMethod
from semtune.records import LowRankSettings

DORA = LowRankMethod(
    name="dora",
    magnitudes=True,
    presets={
        # Not in the original experiment: its LoRA settings, for a comparison that changes one thing.
        "report": LowRankSettings(
            precision="bf16", learning_rate=2e-4, rank=8, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")
        ),
        "default": LowRankSettings(
            precision="auto", learning_rate=5e-4, rank=16, alpha=32.0, dropout=0.05, targets=("all-linear",)
        ),
    },
    preset_notes={
        "report": ("preset report: DoRA was not part of the original experiment; it has the settings of its LoRA here",)
    },
)
