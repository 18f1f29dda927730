"""AdamW (Loshchilov & Hutter 2017, algorithm 2, arXiv:1711.05101), its moments in fp32.

16-bit parameters with masters are updated in one pass over memory (`masters`), all others by torch's fused AdamW, whose
moments have the parameter's dtype.
"""

from __future__ import annotations

from typing import Any, ClassVar

from semtune.training.masters import masters
from semtune.training.optimizers.base import GradientRule, divided, has_master
from semtune.training.rule import ParameterGroup, States
from semtune.training.torch_states import TorchStates


class AdamW(GradientRule):
    """betas 0.9 and 0.999, epsilon 1e-8."""

    name: ClassVar[str] = "adamw"

    def states(self, group: ParameterGroup, settings: Any) -> list[States]:
        """Those with masters first, then the others."""
        mastered, plain = divided(group, lambda p: has_master(p, group))
        made: list[States] = []
        if mastered:
            made.append(masters(mastered, group.weight_decay))
        if plain:
            made.append(TorchStates(plain, group.weight_decay))
        return made


ADAMW = AdamW()
