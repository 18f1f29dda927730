"""AdamW (Loshchilov & Hutter 2017, algorithm 2, arXiv:1711.05101), its moments in fp32.

16-bit parameters with masters are updated in one pass over memory (`masters`), on a GPU many at once (`bucketed`), all
others by torch's fused AdamW, whose moments have the parameter's dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from semtune.training.bucketed import bucketed_masters
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
            made.append((bucketed_masters if _in_buckets(mastered) else masters)(mastered, group.weight_decay))
        if plain:
            made.append(TorchStates(plain, group.weight_decay))
        return made


def _in_buckets(parameters: Mapping[str, nn.Parameter]) -> bool:
    """Whether all are bf16 on a device for which no compiled operator exists."""
    return all(p.dtype == torch.bfloat16 and p.device.type == "cuda" for p in parameters.values())


ADAMW = AdamW()
