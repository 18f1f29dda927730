"""Figures drawn by matplotlib as inline SVG that takes its colours from the page, so that dark pages work too.

While drawing, ink, grid and series have fixed colours that occur nowhere else; in the SVG each is replaced by a CSS
variable with a fallback. Text stays text: it can be read aloud, selected and searched. Nothing global of matplotlib is
touched: no pyplot, and settings apply only within `drawing()`.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1d1f23", "#5f6672", "#d9dce1", "#fdfefd"
SERIES = ("#0173b2", "#d55f00", "#029e73", "#cc79a8", "#e79f01", "#56b4ea", "#8c6a3f")
"""After Okabe and Ito, "Color Universal Design" (2008): distinct with every common colour blindness."""
PHASES = ("#a9c3dd", "#2f6ea5", "#6f9bc6")
"""Load, train, evaluate: one hue, so that they are distinct in grey print too."""

VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper",
    **{color: f"--series-{i}" for i, color in enumerate(SERIES, start=1)},
    **{color: f"--phase-{i}" for i, color in enumerate(PHASES, start=1)},
}  # fmt: skip

SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "svg.fonttype": "none", "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.7, "axes.axisbelow": True, "xtick.major.size": 0, "ytick.major.size": 0,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "legend.frameon": False,
    "legend.fontsize": 9, "axes.unicode_minus": True, "path.simplify": True,
}  # fmt: skip


@contextmanager
def drawing(key: str) -> Iterator[None]:
    """Our settings while a figure is made and saved; ids in the SVG follow from `key`, so pages are reproducible."""
    import matplotlib as mpl

    with mpl.rc_context({**SETTINGS, "svg.hashsalt": key}), warnings.catch_warnings():
        # Names are the user's: a letter that matplotlib's font lacks is drawn by the browser's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def to_svg(figure: Figure, key: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element; call it within `drawing(key)`.

    Args:
        key: goes before every id (after "figure-"), so that several figures can share a page.
        title: names the figure to a screen reader; `description` is its content in words.
    """
    key = f"figure-{key}"
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # matplotlib's style sheet would rule all the page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    # Within tags alone: between them stands the user's text. matplotlib escapes ">" in attributes.
    text = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag.group(), key), text)
    return _opening(text, key, title, description)


def _page_tag(tag: str, key: str) -> str:
    """A tag with ids of this figure's own, and the page's colours and font."""
    tag = re.sub(r'\bid="', f'id="{key}-', tag)
    tag = re.sub(r'href="#', f'href="#{key}-', tag).replace("url(#", f"url(#{key}-")
    for color, variable in VARIABLES.items():
        tag = re.sub(rf"\b(fill|stroke): {color}", rf"\1: var({variable}, {color})", tag)
    return tag.replace("'DejaVu Sans'", "inherit")


def _opening(text: str, key: str, title: str, description: str) -> str:
    """The opening tag without a fixed size, with a name and a description for screen readers."""
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None, "matplotlib writes a viewBox"
    opening = (
        f'<svg {box.group()} role="img" aria-labelledby="{key}-title {key}-desc" '
        'style="stroke-linejoin: round" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{key}-title">{html.escape(title)}</title><desc id="{key}-desc">{html.escape(description)}</desc>'
    )
    return opening + text[text.index(">") + 1 :]
