"""The output of a decoder block whose residual addition is left to the next norm."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class BlockOutput(NamedTuple):
    """Two tensors (rows, hidden_size) whose sum is the block's output; the next norm fuses the addition."""

    hidden_states: Tensor
    """The output of the block's last sublayer, the MLP."""
    residual: Tensor
    """The residual stream before that sublayer."""
