"""`metrics.jsonl` of a run: what its training looked like, step by step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """The content of `metrics.jsonl` of one run: loss by step, the primary dev score by epoch."""

    losses: tuple[tuple[int, float], ...]
    dev: tuple[tuple[int, float], ...]


def read_curve(path: Path) -> Curve:
    """`metrics.jsonl` of a run; empty where there is none. Broken lines (cut off by Ctrl-C) are skipped."""
    losses: list[tuple[int, float]] = []
    dev: list[tuple[int, float]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return Curve((), ())
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["kind"] == "step" and math.isfinite(entry["loss"]):
                losses.append((int(entry["step"]), float(entry["loss"])))
            elif entry["kind"] == "epoch" and math.isfinite(score := _dev_score(entry)):
                dev.append((int(entry["epoch"]), score))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return Curve(tuple(losses), tuple(dev))


def _dev_score(entry: Mapping[str, Any]) -> float:
    """The score of an epoch's line, `dev_<primary metric>`. Raises KeyError, TypeError, ValueError: there is none."""
    name = next((key for key in entry if key.startswith("dev_")), "dev_")
    return float(entry[name])
