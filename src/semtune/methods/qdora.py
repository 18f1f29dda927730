"""QDoRA: DoRA over a base that stays in 4-bit NF4 (Answer.AI 2024, answer.ai/posts/2024-04-26-fsdp-qdora-llama3.html).

DoRA (Liu et al. 2024, arXiv:2402.09353) over QLoRA's base (Dettmers et al. 2023, arXiv:2305.14314): the magnitudes are
the row norms of the dequantised weight at first. It differs from DoRA in the precision of its presets alone.
"""

from __future__ import annotations

from semtune.methods._low_rank import LowRankMethod
from semtune.records import LowRankSettings

QDORA = LowRankMethod(
    name="qdora",
    magnitudes=True,
    presets={
        # Not in the original experiment: its QLoRA settings, for a comparison that changes one thing.
        "report": LowRankSettings(
            precision="nf4", learning_rate=2e-4, rank=8, alpha=32.0, dropout=0.05, targets=("q_proj", "v_proj")
        ),
        "default": LowRankSettings(
            precision="nf4", learning_rate=5e-4, rank=16, alpha=32.0, dropout=0.05, targets=("all-linear",)
        ),
    },
    preset_notes={
        "report": (
            "preset report: QDoRA was not part of the original experiment; it has the settings of its QLoRA here",
        )
    },
)
