"""Footnotes that say how a metric is computed, and how the runs of a row differ from the preset that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from semtune.records import Metric, RunResult, Scores
from semtune.report.table import Footnotes
from semtune.specs.presets import changes_as_text


def definition_marks(metric: Metric, notes: Footnotes) -> tuple[int, ...]:
    """The footnote with the metric's definition; none where its name says all."""
    return (notes.add(f"{metric.title} is {metric.definition}."),) if metric.definition else ()


def deviation_marks(
    recorded: Iterable[Mapping[str, Scores]], metrics: Sequence[Metric], notes: Footnotes
) -> tuple[int, ...]:
    """Footnotes on a row whose scores were computed by other definitions than its column's.

    A study that goes on with a newer version keeps the scores of the runs that had finished before.

    Args:
        recorded: for each run of the row its scores by split.
        metrics: the metrics of the columns.
    """
    by_split = [scores for by_split in recorded for scores in by_split.values()]
    found = dict.fromkeys(
        f"{metric.title} of this row is {definition}, so it does not compare with the others."
        for metric in metrics
        for scores in by_split
        if metric.definition and metric.name in scores.values
        if (definition := scores.definition(metric.name)) not in ("", metric.definition)
    )
    return tuple(notes.add(text) for text in found)


def preset_marks(preset: str, runs: Iterable[RunResult], notes: Footnotes) -> tuple[int, ...]:
    """Footnotes on a row whose runs have other values than the preset that they name."""
    texts = dict.fromkeys(changes_as_text(preset, run.preset_changes) for run in runs if run.preset_changes)
    return tuple(notes.add(f"This row {text}.") for text in texts)
