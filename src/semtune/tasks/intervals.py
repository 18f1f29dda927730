"""Bootstrap intervals of micro- and macro-F1 over texts: how far a score may be from that of other texts of the kind.

Texts are drawn with replacement, as many as there are, and the metric is computed of each draw; an interval is that
between the 2.5th and the 97.5th percentile (Efron 1979; the percentile method). The draws depend on the number of texts
alone, so that all runs on a split are scored on the same ones.

A rare label may be absent from a draw. It is then left out of that draw's macro-F1, also where the convention counts
absent labels as 1: draws would otherwise score higher than the split, the rarer its labels the more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from semtune.contracts import Task
from semtune.records import Example, Prediction, TargetKind
from semtune.tasks.scoring import MACRO_F1, MICRO_F1, Convention, Truth, indicators

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 20210805
_DRAWN_TEXTS = 40_000_000
"""Texts drawn for an interval at most: of very many texts there are fewer resamples, whose scores differ little."""
_FEWEST_RESAMPLES = 200
_CHUNK_TEXTS = 2_000_000
"""Texts drawn at once."""

Floats = npt.NDArray[np.float64]


def intervals_of(
    task: Task, gold: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, tuple[float, float]]:
    """What the task says of its scores' intervals (`BaseTask.intervals`); {}: it says nothing of them."""
    of_task = getattr(task, "intervals", None)
    return {} if of_task is None else dict(of_task(gold, predictions))


def label_intervals(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    kind: TargetKind,
    *,
    convention: Convention,
) -> dict[str, tuple[float, float]]:
    """Metric name -> the ends of its 95% interval, for what `scoring.score` scores; arguments and errors as there."""
    truth, predicted = indicators(gold, predictions, labels)
    texts = len(truth)
    counts = [np.asarray(m, np.float64) for m in (truth & predicted, ~truth & predicted, truth & ~predicted)]
    known = np.asarray((truth | predicted).any(axis=0))  # (labels,)
    right = (truth == predicted).all(axis=1).astype(np.float64)
    random = np.random.default_rng(_SEED)
    resamples = min(RESAMPLES, max(_FEWEST_RESAMPLES, _DRAWN_TEXTS // texts))
    micro, macro = [], []
    chunk = max(1, _CHUNK_TEXTS // texts)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = random.multinomial(texts, np.full(texts, 1 / texts), size=size).astype(np.float64)  # (resamples, texts)
        tp, fp, fn = (drawn @ count for count in counts)  # (resamples, labels)
        macro.append(_macro_f1(tp, fp, fn, known, convention))
        if kind == "single_label":
            micro.append(drawn @ right / texts)
        else:
            micro.append(_f1(tp.sum(axis=1), fp.sum(axis=1), fn.sum(axis=1), convention.zero_division))
    return {MICRO_F1.name: _ends(micro), MACRO_F1.name: _ends(macro)}


def _f1(tp: Floats, fp: Floats, fn: Floats, zero_division: float) -> Floats:
    total = 2 * tp + fp + fn
    found: Floats = np.divide(2 * tp, total, out=np.full_like(total, zero_division), where=total > 0)
    return found


def _macro_f1(tp: Floats, fp: Floats, fn: Floats, known: Truth, convention: Convention) -> Floats:
    """The mean F1 over labels of each resample, (resamples,).

    Args:
        known: whether each label is gold or predicted in the split; for the others see `scoring`.
    """
    f1 = _f1(tp, fp, fn, convention.zero_division)
    counted = np.where(known, tp + fp + fn > 0, convention.over_all_labels).astype(np.float64)
    number = counted.sum(axis=1)
    mean: Floats = np.divide(
        (f1 * counted).sum(axis=1), number, out=np.full_like(number, convention.zero_division), where=number > 0
    )
    return mean


def _ends(values: Sequence[Floats]) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
