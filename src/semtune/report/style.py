"""The colour, mark and line style of each group, the same in every figure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from semtune.report.svg import INK, MUTED, SERIES
from semtune.report.view import Group, StudyView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 1.5, 1, 1.5)))


def series_of(view: StudyView) -> dict[str, int]:
    """The number of each method's colour in the page's CSS, counted from 1."""
    methods = dict.fromkeys(group.method for group in view.groups)
    return {method: i % len(SERIES) + 1 for i, method in enumerate(methods)}


class Looks:
    """Colours by method, marks by readout, line styles by combination of model, prompt and preset."""

    def __init__(self, view: StudyView) -> None:
        self._series = series_of(view)
        self._readouts = list(dict.fromkeys(group.readout for group in view.groups))
        self._variants = list(dict.fromkeys(_variant(group) for group in view.groups))
        self._varying = view.varying

    def color(self, group: Group) -> str:
        """The colour of the group's method."""
        return SERIES[self._series[group.method] - 1]

    def marker(self, group: Group) -> str:
        """The mark of the group's readout."""
        return MARKERS[self._readouts.index(group.readout) % len(MARKERS)]

    def line(self, group: Group) -> Any:
        """The line style of the group's model, prompt and preset."""
        return LINES[self._variants.index(_variant(group)) % len(LINES)]

    def readout_legend(self, figure: Figure) -> None:
        """Add a legend above the axes that names the mark of each readout."""
        _legend(figure, self._readout_handles(set(self._readouts)))

    def full_legend(self, figure: Figure, groups: Sequence[Group]) -> None:
        """Add a legend above the axes: methods of `groups`, and their readouts and variants where there are several."""
        from matplotlib.lines import Line2D

        methods, readouts = ({getattr(group, axis) for group in groups} for axis in ("method", "readout"))
        variants = {_variant(group) for group in groups}
        handles: list[Any] = [
            Line2D([], [], color=SERIES[i - 1], linewidth=2.2, label=method)
            for method, i in self._series.items()
            if method in methods
        ]
        if len(readouts) > 1:
            handles += self._readout_handles(readouts)
        if len(variants) > 1:
            shown = [i for i, axis in enumerate(("model", "prompt", "preset")) if axis in self._varying]
            for i, variant in enumerate(self._variants):
                if variant not in variants:
                    continue
                label = " · ".join(variant[k] for k in shown if variant[k])
                if label:
                    handles.append(Line2D([], [], color=MUTED, linestyle=LINES[i % len(LINES)], label=label))
        _legend(figure, handles)

    def _readout_handles(self, readouts: Collection[str]) -> list[Any]:
        from matplotlib.lines import Line2D

        return [
            Line2D([], [], color=MUTED, linestyle="none", marker=MARKERS[i % len(MARKERS)], label=readout)
            for i, readout in enumerate(self._readouts)
            if readout and readout in readouts  # a strategy that asks no model has none
        ]


def _variant(group: Group) -> tuple[str, str, str]:
    return group.model, group.prompt, group.preset


def _legend(figure: Figure, handles: list[Any]) -> None:
    columns = min(len(handles), 7)
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=columns, labelcolor=INK, columnspacing=1.4
    )
