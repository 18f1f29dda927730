"""Numbers of records, as type hints with the bounds that a measurement keeps; `records.checking` reads them."""

from __future__ import annotations

from typing import Annotated

from semtune.records.declare import Bounds

_MOST_COUNTED = 2**63 - 1
UNMEASURED = "NaN and infinity are figures that were not measured"
"""In a hint: such a value is accepted, and shown as a dash."""
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
Seconds = Annotated[float, Bounds(at_least=0, at_most=1e12), UNMEASURED]
PerSecond = Annotated[float, Bounds(at_least=0, at_most=1e18), UNMEASURED]
Money = Annotated[float, Bounds(at_least=0, at_most=1e18)]
Bytes = Annotated[int, Bounds(at_least=0, at_most=_MOST_COUNTED)]
Count = Annotated[int, Bounds(at_least=0, at_most=_MOST_COUNTED)]
Seed = Annotated[int, Bounds(at_least=0, below=2**63)]
