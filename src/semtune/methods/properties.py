"""What each method trains, which base weights it takes and whether it merges into them, known without running it.

`probe` finds it out; importing torch for that takes seconds, so what it found for semtune's own methods is shipped
(`properties.json`). The tests hold that file against `probe`; `SEMTUNE_WRITE_PROPERTIES=1 pytest
tests/methods/test_properties.py` writes it.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

MODEL, PRESET = "shape:smollm2-135m", "default"
"""The model whose parameters are counted (the shape of the default model), and the preset that is attached to it."""


@dataclass(frozen=True, slots=True)
class BaseProperties:
    """One method over base weights of one precision."""

    refusal: str | None = None
    """Why the method cannot be attached to such weights; None: it can."""
    merge: Literal["merges", "in place", "refused"] = "refused"
    """What merging does: it changes weights of the base, or nothing, as the base's own weights are trained."""
    merge_refusal: str | None = None
    """Why merging is refused."""
    merged_precision: str | None = None
    """The precision of the base's linear weights after merging, where that is a quantisation."""


@dataclass(frozen=True, slots=True)
class MethodProperties:
    """What one method does to `MODEL`, with the settings of `PRESET` but for the precision."""

    trainable_parameters: int
    """Number of scalars that the method trains; those of the readout are not counted."""
    total_parameters: int
    """Number of scalars of the model and of what the method adds to it."""
    trains_readout_alone: bool
    """See `contracts.Method`."""
    precision: str
    """The preset's own precision of the base weights."""
    bases: dict[str, BaseProperties]
    """By precision: 32 and 16 bits and the quantisations."""

    @property
    def trainable_share(self) -> float:
        """The share of trained scalars, from 0 to 1."""
        return self.trainable_parameters / self.total_parameters

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> MethodProperties:
        """From what `records.to_plain` made of one."""
        return cls(**{**values, "bases": {name: BaseProperties(**base) for name, base in values["bases"].items()}})


@functools.cache
def shipped() -> dict[str, MethodProperties]:
    """The shipped properties, by method."""
    text = (resources.files("semtune.methods") / "properties.json").read_text(encoding="utf-8")
    return {name: MethodProperties.from_plain(values) for name, values in json.loads(text).items()}
