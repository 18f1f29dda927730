"""QLoRA: LoRA over a base that stays in 4-bit NF4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314).

It differs from LoRA in the precision of its presets alone: adapters are the same over every kind of linear layer.
"""

from __future__ import annotations

from semtune.methods._low_rank import LowRankMethod
from semtune.records import LowRankSettings

QLORA = LowRankMethod(
    name="qlora",
    presets={
        # The original experiment. Its learning rates are not stated as far as we know; this is the QLoRA paper's.
        "report": LowRankSettings(
            precision="nf4", learning_rate=2e-4, rank=8, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")
        ),
        # All linear layers: needed to reach full fine-tuning's quality over a 4-bit base (QLoRA, section 4).
        "default": LowRankSettings(
            precision="nf4", learning_rate=5e-4, rank=16, alpha=32.0, dropout=0.05, targets=("all-linear",)
        ),
    },
    preset_notes={
        "report": (
            "preset report: the original experiment does not state its batch size, lengths and learning rates; qlora's "
            "learning rate here is the QLoRA paper's",
        )
    },
)
