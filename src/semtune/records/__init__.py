"""The frozen records that pass between packages. Standard library only; sizes are in bytes, times in seconds."""

from semtune.records.declare import option
from semtune.records.options import (
    CommonReadoutOptions,
    LowRankSettings,
    MethodSettings,
    RunSpec,
    TaskOptions,
)
from semtune.records.plain import to_plain
from semtune.records.results import Advice, Phase, Plan, RunResult, Status
from semtune.records.scores import LabelScore, LeaderboardEntry, Scores
from semtune.records.targets import Example, Prediction, Span

__all__ = [
    "Advice",
    "CommonReadoutOptions",
    "Example",
    "LabelScore",
    "LeaderboardEntry",
    "LowRankSettings",
    "MethodSettings",
    "Phase",
    "Plan",
    "Prediction",
    "RunResult",
    "RunSpec",
    "Scores",
    "Span",
    "Status",
    "TaskOptions",
    "option",
    "to_plain",
]
