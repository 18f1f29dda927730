"""Curves of single runs: smoothed training loss by step, and the primary dev score by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semtune.records import RunResult
from semtune.report.metrics_file import Curve, read_curve
from semtune.report.style import Looks
from semtune.report.svg import PAPER
from semtune.report.view import Group, StudyView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEIGHT = 0.9
"""Weight of the past in the moving average of the loss."""


@dataclass(frozen=True, slots=True)
class RunCurve:
    """A run and what it wrote to `metrics.jsonl`."""

    group: Group
    run: RunResult
    curve: Curve


def read_all(view: StudyView, folder: Path) -> list[RunCurve]:
    """The curves of all runs that have any, those that did not end well included."""
    found = [
        RunCurve(group, run, read_curve(folder / run.out / "metrics.jsonl"))
        for group in view.groups
        for run in group.runs
        if run.out
    ]
    return [item for item in found if item.curve.losses or item.curve.dev]


def smooth(values: Sequence[float], weight: float = WEIGHT) -> list[float]:
    """Exponential moving average, corrected for its start: e_t = w e_(t-1) + (1 - w) x_t, shown e_t / (1 - w^t)."""
    average, shown = 0.0, []
    for step, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        shown.append(average / (1 - weight**step))
    return shown


def draw(figure: Figure, view: StudyView, runs: Sequence[RunCurve]) -> None:
    """A loss panel for each readout, whose losses are different quantities, and one panel of the dev score."""
    readouts = list(dict.fromkeys(item.group.readout for item in runs if item.curve.losses))
    has_dev = any(item.curve.dev for item in runs)
    panels = len(readouts) + has_dev
    columns = min(panels, 3 if panels == 3 else 2)
    rows = math.ceil(panels / columns)
    height = 2.9 * rows + 0.4
    figure.set_size_inches(figure.get_figwidth(), height)
    figure.subplots_adjust(left=0.06, right=0.985, top=1 - 0.68 / height, bottom=0.5 / height, wspace=0.2, hspace=0.45)
    looks = Looks(view)
    for index, readout in enumerate(readouts, start=1):
        _draw_losses(figure.add_subplot(rows, columns, index), looks, [r for r in runs if r.group.readout == readout])
    if has_dev:
        _draw_dev(figure.add_subplot(rows, columns, panels), looks, runs, view.primary.title)
    looks.full_legend(figure, [item.group for item in runs])


def _draw_losses(axes: Axes, looks: Looks, runs: Sequence[RunCurve]) -> None:
    axes.set_title(f"Training loss, {runs[0].group.readout}")
    for item in runs:
        if not item.curve.losses:
            continue
        steps = [step for step, _ in item.curve.losses]
        shown = smooth([loss for _, loss in item.curve.losses])
        color = looks.color(item.group)
        axes.plot(steps, shown, color=color, linestyle=looks.line(item.group), linewidth=1.6)
        if item.run.status == "diverged":
            axes.plot(steps[-1], shown[-1], marker="x", color=color, markersize=7, markeredgewidth=1.8)
    _from_zero(axes)
    axes.set_xlabel("step")


def _draw_dev(axes: Axes, looks: Looks, runs: Sequence[RunCurve], metric: str) -> None:
    """The dev score; the epoch whose weights were kept is a full mark, the others hollow ones."""
    axes.set_title(f"Dev {metric}")
    epochs: set[int] = set()
    for item in runs:
        if not item.curve.dev:
            continue
        at, scores = zip(*item.curve.dev, strict=True)
        epochs |= set(at)
        color, marker = looks.color(item.group), looks.marker(item.group)
        axes.plot(at, scores, color=color, linestyle=looks.line(item.group), linewidth=1.3)
        for epoch, score in item.curve.dev:
            kept = epoch == item.run.best_epoch
            axes.plot(epoch, score, marker=marker, markersize=6.5, markerfacecolor=color if kept else PAPER,
                      markeredgecolor=color, markeredgewidth=1.3)  # fmt: skip
    if len(epochs) <= 12:
        axes.set_xticks(sorted(epochs))
    _from_zero(axes)
    axes.margins(x=0.08)
    axes.set_xlabel("epoch")


def _from_zero(axes: Axes) -> None:
    """The vertical axis from 0, with a margin for marks at the top and, below 0, for half of a mark."""
    top = axes.dataLim.y1 if axes.has_data() else 1.0
    top = top if top > 0 else 1.0
    axes.set_ylim(-0.025 * top, 1.07 * top)


def caption(view: StudyView, runs: Sequence[RunCurve]) -> str:
    """How to read the curves."""
    text = [f"Loss: exponential moving average over steps, weight {WEIGHT} on the past, corrected for its start."]
    if len({item.group.readout for item in runs}) > 1:
        text.append("Losses of different readouts are different quantities: compare within a panel only.")
    if any(item.curve.dev for item in runs):
        text.append("Dev: the filled mark is the epoch whose weights were kept.")
    if any(item.run.status == "diverged" for item in runs):
        text.append("×: diverged after this step.")
    if any(len(group.runs) > 1 for group in view.groups):
        text.append("One line a seed.")
    return " ".join(text)


def describe(view: StudyView, runs: Sequence[RunCurve]) -> str:
    """The curves in words, for a screen reader: where each loss and each dev score ends."""
    parts = []
    for item in runs:
        words = []
        if item.curve.losses:
            words.append(f"loss ends at {smooth([loss for _, loss in item.curve.losses])[-1]:.3g}")
        if item.curve.dev:
            words.append(
                f"dev {view.primary.title} by epoch " + ", ".join(f"{score:.3f}" for _, score in item.curve.dev)
            )
        parts.append(f"{view.label(item.group)}, seed {item.run.seed}: {', '.join(words)}")
    return "; ".join(parts)
