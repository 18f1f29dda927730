"""The frozen records that pass between packages. Standard library only; sizes are in bytes, times in seconds."""

from semtune.records.declare import option
from semtune.records.options import (
    ENDPOINT_OPTIONS,
    LOCAL_MODEL_OPTIONS,
    TUNING_OPTIONS,
    CommonReadoutOptions,
    LowRankSettings,
    MethodSettings,
    RunSpec,
    TaskOptions,
)
from semtune.records.overlap import Overlap
from semtune.records.plain import to_plain
from semtune.records.results import Advice, CutTexts, Phase, Plan, RunResult, Status
from semtune.records.scores import LabelScore, LeaderboardEntry, Metric, Scores
from semtune.records.targets import (
    Example,
    FreeText,
    LabelSet,
    Prediction,
    SingleLabel,
    Span,
    Spans,
    Target,
    TargetKind,
    TargetSpace,
    label_target,
)
from semtune.records.usage import Usage

__all__ = [
    "ENDPOINT_OPTIONS",
    "LOCAL_MODEL_OPTIONS",
    "TUNING_OPTIONS",
    "Advice",
    "CommonReadoutOptions",
    "CutTexts",
    "Example",
    "FreeText",
    "LabelScore",
    "LabelSet",
    "LeaderboardEntry",
    "LowRankSettings",
    "MethodSettings",
    "Metric",
    "Overlap",
    "Phase",
    "Plan",
    "Prediction",
    "RunResult",
    "RunSpec",
    "Scores",
    "SingleLabel",
    "Span",
    "Spans",
    "Status",
    "Target",
    "TargetKind",
    "TargetSpace",
    "TaskOptions",
    "Usage",
    "label_target",
    "option",
    "to_plain",
]
