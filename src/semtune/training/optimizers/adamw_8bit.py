"""AdamW whose moments are stored in 8 bits (Dettmers et al. 2022); `eight_bit` has the update.

Parameters of few elements keep fp32 moments.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from semtune.training.eight_bit import eight_bit, has_eight_bit_moments
from semtune.training.optimizers.adamw import ADAMW
from semtune.training.optimizers.base import GradientRule, divided
from semtune.training.rule import ParameterGroup, States


class AdamW8bit(GradientRule):
    """Moments of 1 + 4/256 bytes per element."""

    name: ClassVar[str] = "adamw-8bit"

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """Those with 8-bit moments first, then AdamW's."""
        large, small = divided(group, has_eight_bit_moments)
        made: list[States] = []
        if large:
            made.append(eight_bit(large, group.weight_decay, master_weights=group.master_weights))
        if small:
            made += ADAMW.states(dataclasses.replace(group, parameters=small), None)
        return made


ADAMW_8BIT = AdamW8bit()
