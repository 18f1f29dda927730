"""The frozen records that pass between packages. Standard library only; sizes are in bytes, times in seconds."""

from semtune.records.options import MethodSettings, RunSpec, TaskOptions
from semtune.records.plain import to_plain
from semtune.records.results import Advice, Phase, Plan, RunResult, Status
from semtune.records.scores import LabelScore, LeaderboardEntry, Metric, Scores
from semtune.records.targets import Example, Prediction, Span, TargetKind, TargetSpace

__all__ = [
    "Advice",
    "Example",
    "LabelScore",
    "LeaderboardEntry",
    "MethodSettings",
    "Metric",
    "Phase",
    "Plan",
    "Prediction",
    "RunResult",
    "RunSpec",
    "Scores",
    "Span",
    "Status",
    "TargetKind",
    "TargetSpace",
    "TaskOptions",
    "to_plain",
]
