"""LoRA: low-rank adapters beside frozen weights (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from semtune.methods._low_rank import LowRankMethod
from semtune.records import LowRankSettings

LORA = LowRankMethod(
    name="lora",
    presets={
        # The original experiment. Its learning rates are not stated as far as we know; this is the QLoRA paper's.
        "report": LowRankSettings(
            precision="bf16", learning_rate=2e-4, rank=8, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")
        ),
        # All linear layers matter more than the rank (QLoRA, section 4; Biderman et al. 2024).
        "default": LowRankSettings(
            precision="auto", learning_rate=5e-4, rank=16, alpha=32.0, dropout=0.05, targets=("all-linear",)
        ),
    },
    preset_notes={
        "report": (
            "preset report: the original experiment does not state its batch size, lengths and learning rates; lora's "
            "learning rate here is the QLoRA paper's",
        )
    },
)
