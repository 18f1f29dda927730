"""How many texts an approach cut to fit its limit of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from semtune.contracts import Approach
from semtune.records import CutTexts, Example


def cut_texts(approach: Approach, examples: Sequence[Example]) -> CutTexts | None:
    """What the last `fit` or `predict` of `approach` cut of `examples`; None: nothing."""
    cut = [approach.cut_tokens[e.id] for e in examples if e.id in approach.cut_tokens]
    if not cut:
        return None
    option, limit = approach.cut_limit
    return CutTexts(len(cut), len(examples), sum(cut), limit, option)
