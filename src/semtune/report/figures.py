"""The report's figures as inline SVG: trade-off, speed, memory, and the course of training.

A figure without anything to show is left out, and its caption says why. matplotlib is imported only when one is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.report import curves
from semtune.report.placement import Box, Point, place
from semtune.report.style import Looks
from semtune.report.svg import INK, MUTED, PAPER, PHASES, drawing, to_svg
from semtune.report.table import decimals, number
from semtune.report.view import STATUS_WORDS, Group, Statistic, StudyView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 9.6
"""Inches; at 72 dots an inch the unit of the SVG is a pixel."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One figure of the page; `svg` is None where there is nothing to show, which `caption` then explains."""

    key: str
    title: str
    caption: str
    svg: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A group in the trade-off: peak GB while training, primary score, and seconds per iteration where on record."""

    group: Group
    peak: float
    score: Statistic
    pace: float | None


def all_figures(view: StudyView, folder: Path) -> list[Drawn]:
    """The page's figures, in order. `folder` contains the run folders, whose metrics.jsonl the curves are read from."""
    return [trade_off(view), speed(view), memory(view), course(view, folder)]


def trade_off(view: StudyView) -> Drawn:
    """Peak memory (`Group.working_peak`) against the primary score (test, else dev), one mark a group."""
    split, metric = view.score_split, view.primary
    marks = _marks(view, split)
    title = f"Memory against quality ({split} {metric.title})"
    if not marks:
        return Drawn("tradeoff", title, "No run has both a memory peak and a score on record.", None)
    bases = sorted((s.mean, b.name) for b in view.baselines if (s := b.score(split, metric)) is not None)
    description = "; ".join(f"{view.label(m.group)}: {m.peak:.2f} GB, {metric.title} {m.score.mean:.3f}" for m in marks)
    with drawing("tradeoff"):
        top = 0.92 if len({m.group.readout for m in marks}) > 1 else 0.985  # a legend, or none
        figure, axes = _canvas(4.6, left=0.075, right=0.86, bottom=0.115, top=top)
        low, high = _limits([m.score for m in marks], sorted((score for score, _ in bases), key=metric.rank)[-1:])
        axes.set_ylim(low, high)
        _memory_axis(axes, [m.peak for m in marks])
        shown = [(score, name) for score, name in bases if low <= score <= high]
        _draw_baselines(axes, shown)
        _draw_marks(axes, view, marks, [score for score, _ in shown])
        untrained = any(m.group.trains_nothing for m in marks)
        axes.set_xlabel(f"peak memory while training{' (predicting, where nothing is trained)' * untrained}, GB")
        chosen = " (dev chose the epoch: optimistic)" if split == "dev" and view.selected_on == "dev" else ""
        axes.set_ylabel(f"{split} {metric.title}{chosen}")
        if top < 0.95:
            Looks(view).readout_legend(figure)
        svg = to_svg(figure, "tradeoff", title, description)
    return Drawn("tradeoff", title, _trade_off_caption(view, marks, bases, (low, high)), svg)


def _marks(view: StudyView, split: str) -> list[Mark]:
    found = []
    for group in view.groups:
        peak, score = group.working_peak, group.score(split, view.primary)
        pace = group.figure(lambda run: run.seconds_per_iteration)
        if peak is not None and score is not None and not group.random_weights:
            found.append(Mark(group, peak.mean * 1e-9, score, pace.mean if pace else None))
    return found


def _trade_off_caption(
    view: StudyView, marks: list[Mark], bases: list[tuple[float, str]], shown: tuple[float, float]
) -> str:
    """How to read the figure; `shown`: the ends of the score axis."""
    corner, better = ("Upper", "higher") if view.primary.higher_is_better else ("Lower", "lower")
    sentences = [f"{corner} left is better: less memory, {better} {view.primary.title}."]
    if any(m.pace is not None for m in marks):
        sentences.append("The area of a mark grows with the seconds per iteration written beside it.")
    if bases:
        sentences.append("Dashed: baselines.")
    for where, outside in (
        ("below", [base for base in bases if base[0] < shown[0]]),
        ("above", [base for base in bases if base[0] > shown[1]]),
    ):
        if outside:
            names = ", ".join(f"{name} {score:.3f}" for score, name in outside)
            sentences.append(f"Baselines {where} the axis: {names}.")
    if any(m.score.sd is not None for m in marks):
        sentences.append("Bars: one standard deviation over the seeds.")
    elif len(marks) > 1:
        sentences.append("One seed each: differences of a few points are noise.")
    return " ".join(sentences + _missing(view, [m.group for m in marks]))


def _missing(view: StudyView, shown: list[Group]) -> list[str]:
    """A sentence on the groups that a figure does not show, if any."""
    out = []
    for group in view.groups:
        if group in shown:
            continue
        words = "/".join(dict.fromkeys(STATUS_WORDS[run.status] for run in group.lost)) if not group.ok else ""
        out.append(f"{view.label(group)} ({words or ('random weights' if group.random_weights else 'not on record')})")
    return [f"Not shown: {', '.join(out)}."] if out else []


def _draw_marks(axes: Axes, view: StudyView, marks: list[Mark], heights: list[float]) -> None:
    """Marks with direct labels that keep clear of each other and of the lines at `heights`."""
    looks = Looks(view)
    slowest = max((m.pace for m in marks if m.pace is not None), default=0.0)
    digits = decimals([m.pace for m in marks if m.pace is not None])
    points, labels = [], []
    for mark in sorted(marks, key=lambda m: -(m.pace or 0)):
        area = 60 + 500 * (mark.pace / slowest if mark.pace is not None and slowest else 0.0)
        color, shape = looks.color(mark.group), looks.marker(mark.group)
        axes.scatter(mark.peak, mark.score.mean, s=area, color=color, marker=shape, alpha=0.82, linewidths=0, zorder=3)
        if mark.score.sd is not None:
            axes.errorbar(mark.peak, mark.score.mean, mark.score.sd, color=color, linewidth=1.2, capsize=3, zorder=2)
        text = view.label(mark.group)
        if mark.pace is not None:
            text += f"\n{number(mark.pace, digits)} s/iteration"
        label = axes.annotate(
            text, (0, 0), xycoords="figure pixels", color=INK, linespacing=1.25, zorder=5, va="bottom"
        )
        points.append(((mark.peak, mark.score.mean), area**0.5 / 2 + 1))
        labels.append(label)
    renderer = _renderer(axes)
    discs = []
    for (at, radius), label in zip(points, labels, strict=True):
        x, y = axes.transData.transform(at)
        size = label.get_window_extent(renderer)
        discs.append(Point(float(x), float(y), radius, size.width, size.height))
    frame = axes.get_window_extent(renderer)
    lines = [axes.transData.transform((0, height))[1] for height in heights]
    obstacles = [Box(frame.x0, y - 2, frame.width, 4) for y in lines] + [_error_box(axes, m) for m in marks]
    boxes = place(discs, Box(frame.x0, frame.y0, frame.width, frame.height), obstacles)
    for disc, label, box in zip(discs, labels, boxes, strict=True):
        label.set_position((box.x, box.y))
        if box.x + box.width < disc.x:
            label.set_horizontalalignment("right")  # the browser's font may be narrower: stay beside the mark
            label.set_position((box.x + box.width, box.y))


def _error_box(axes: Axes, mark: Mark) -> Box:
    """The rectangle of a mark's error bar, in pixels; empty without one."""
    sd = mark.score.sd or 0.0
    x, low = axes.transData.transform((mark.peak, mark.score.mean - sd))
    _, high = axes.transData.transform((mark.peak, mark.score.mean + sd))
    return Box(float(x) - 4, float(low), 8, float(high - low))


def _draw_baselines(axes: Axes, bases: list[tuple[float, str]]) -> None:
    """Dashed lines with their names in the right margin, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    apart = (high - low) * 0.042
    last = low - apart
    for score, name in bases:
        axes.axhline(score, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        last = max(score, last + apart)
        where = axes.get_yaxis_transform()
        axes.text(1.01, last, f"{name} {score:.3f}", transform=where, va="center", color=MUTED, fontsize=8.5)


def speed(view: StudyView) -> Drawn:
    """Real tokens trained on per second, one bar a group."""
    title = "Training speed"
    bars = [(group, found) for group in view.groups if (found := group.figure(lambda run: run.tokens_per_second))]
    if not bars:
        return Drawn("speed", title, "No run has a training speed on record.", None)
    digits = decimals([found.mean for _, found in bars])
    looks = Looks(view)
    with drawing("speed"):
        figure, axes = _bar_canvas([view.label(group) for group, _ in bars], 0.36, "real tokens per second")
        for row, (group, found) in enumerate(bars):
            axes.barh(row, found.mean, height=0.62, color=looks.color(group), xerr=found.sd, ecolor=INK)
            _value(axes, found.mean + (found.sd or 0), row, number(found.mean, digits))
        description = "; ".join(f"{view.label(g)}: {number(f.mean, digits)} tokens/s" for g, f in bars)
        svg = to_svg(figure, "speed", title, description)
    return Drawn("speed", title, _bars_caption("Padding never counts.", view, bars), svg)


def memory(view: StudyView) -> Drawn:
    """Peak memory in each phase, three bars a group, with the bare runtime as a line across them."""
    title = "Peak memory by phase"
    phases = ("load", "train", "evaluate")
    bars = [(g, [g.peak(p) for p in phases]) for g in view.groups if any(g.peak(p) is not None for p in phases)]
    if not bars:
        return Drawn("memory", title, "No run has memory peaks on record.", None)
    with drawing("memory"):
        figure, axes = _bar_canvas([view.label(group) for group, _ in bars], 0.66, "GB", extra=0.3)
        for row, (group, peaks) in enumerate(bars):
            for offset, peak, color in zip((-0.27, 0.0, 0.27), peaks, PHASES, strict=True):
                if peak is not None:
                    axes.barh(row + offset, peak.mean * 1e-9, height=0.25, color=color, linewidth=0)
                    _value(axes, peak.mean * 1e-9, row + offset, f"{peak.mean * 1e-9:.2f}", fontsize=8.5)
            runtime = group.figure(lambda run: run.runtime_bytes)
            if runtime is not None:
                x = runtime.mean * 1e-9
                axes.plot([x, x], [row - 0.44, row + 0.44], color=PAPER, linewidth=3.2, solid_capstyle="butt")
                axes.plot([x, x], [row - 0.44, row + 0.44], color=INK, linewidth=1.3, solid_capstyle="butt")
        _phase_legend(figure, phases)
        description = "; ".join(
            f"{view.label(g)}: "
            + ", ".join(f"{n} {p.mean * 1e-9:.2f} GB" for n, p in zip(phases, ps, strict=True) if p)
            for g, ps in bars
        )
        svg = to_svg(figure, "memory", title, description)
    text = "Each peak includes the bare runtime: imports done, nothing loaded. GB = 1,000,000,000 bytes."
    return Drawn("memory", title, " ".join([text, *_missing(view, [group for group, _ in bars])]), svg)


def _value(axes: Axes, x: float, y: float, text: str, **looks: Any) -> None:
    """A bar's figure, just behind its end."""
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", color=INK, **looks)


def _phase_legend(figure: Figure, phases: tuple[str, ...]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=color, label=phase) for phase, color in zip(phases, PHASES, strict=True)]
    handles.append(Line2D([], [], color=INK, linewidth=1.3, label="bare runtime"))
    figure.legend(handles=handles, loc="upper left", ncols=4, bbox_to_anchor=(0.0, 1.0), labelcolor=INK)


def _bars_caption(text: str, view: StudyView, bars: list[tuple[Group, Statistic]]) -> str:
    spread = ["Lines: one standard deviation over the seeds."] if any(s.sd is not None for _, s in bars) else []
    shown = [group for group, _ in bars] + [group for group in view.groups if group.trains_nothing]
    return " ".join([text, *spread, *_missing(view, shown)])


def course(view: StudyView, folder: Path) -> Drawn:
    """Training loss by step, one panel a readout, and the primary dev score by epoch."""
    title = "The course of training"
    runs = curves.read_all(view, folder)
    if not runs:
        return Drawn("course", title, "No run has a metrics.jsonl with steps in it.", None)
    with drawing("course"):
        figure = _figure(0)
        curves.draw(figure, view, runs)
        svg = to_svg(figure, "course", title, curves.describe(view, runs))
    return Drawn("course", title, curves.caption(view, runs), svg)


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height or 3.4), dpi=72)


def _canvas(height: float, **margins: float) -> tuple[Figure, Axes]:
    figure = _figure(height)
    figure.subplots_adjust(**margins)
    return figure, figure.subplots()


def _renderer(axes: Axes) -> Any:
    """Something that can measure text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()  # type: ignore[no-untyped-call]


def _bar_canvas(names: list[str], row_height: float, unit: str, extra: float = 0.0) -> tuple[Figure, Axes]:
    """Axes for horizontal bars, the first on top, wide enough at the left for the names."""
    height = row_height * len(names) + 0.75 + extra
    left = min(0.4, 0.03 + 0.0088 * max(len(name) for name in names))
    top = 1 - (0.1 + extra) / height
    figure, axes = _canvas(height, left=left, right=0.97, bottom=0.5 / height, top=top)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(unit)
    axes.margins(x=0.09)
    return figure, axes


def _limits(scores: list[Statistic], strongest: list[float]) -> tuple[float, float]:
    """The score axis: all runs with their bars, and the strongest baseline; scores between 0 and 1 stay there."""
    low = min([s.mean - (s.sd or 0) for s in scores] + strongest)
    high = max([s.mean + (s.sd or 0) for s in scores] + strongest)
    margin = max(0.18 * (high - low), 0.02)
    return (max(0.0, low - margin) if low >= 0 else low - margin), min(1.02 if high <= 1 else math.inf, high + margin)


def _memory_axis(axes: Axes, peaks: list[float]) -> None:
    """The memory axis with a margin for labels at its end; from 0, so that twice as far is twice as much."""
    axes.set_xlim(0, max(peaks) * 1.22)
