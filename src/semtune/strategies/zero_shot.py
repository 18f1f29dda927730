"""Zero-shot prompting: the labels, with definitions or without, then the text; then one of the ways of answering.

The prompt is `instruction, one line a label, the text` in the form of the run's prompt.
"""

from __future__ import annotations

from typing import ClassVar

from semtune.strategies._direct import DirectStrategy


class ZeroShot(DirectStrategy):
    """Registered as "zero-shot"; `contracts.Strategy`."""

    name: ClassVar[str] = "zero-shot"
