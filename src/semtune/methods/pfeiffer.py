"""Pfeiffer adapters: one bottleneck adapter a block, after the MLP (Pfeiffer et al. 2021, arXiv:2005.00247).

    z' = z + W_up f(W_down z + b_down) + b_up        z: the block's output, the MLP's with the residual added

- The paper places the adapter after the MLP's "add & norm" and adds its output to the MLP's. In decoders whose norms
  come first there is no norm there, so its input is the sum that leaves the block, as AdapterHub has it (`SeqBnConfig`:
  `original_ln_before`, with no norm to apply).
- Defaults: AdapterHub's reduction factor 16 and ReLU. The up-projection is 0 at first (see `nn.bottleneck`).
- The adapter runs outside the block's activation checkpointing, which keeps one more tensor (tokens, hidden_size) a
  block, the adapter's input.
"""

from __future__ import annotations

from torch import nn

from semtune.contracts import LoadedModel
from semtune.methods._bottleneck import BottleneckMethod, BottleneckSettings


class Pfeiffer(BottleneckMethod):
    """Adapters behind the blocks."""

    def carriers(self, loaded: LoadedModel) -> list[nn.Module]:
        """The decoder's blocks."""
        return loaded.blocks()


PFEIFFER = Pfeiffer(
    name="pfeiffer",
    presets={
        # Not in the original experiment: its precision.
        "report": BottleneckSettings(precision="bf16", learning_rate=1e-3, activation="relu"),
        "default": BottleneckSettings(precision="auto", learning_rate=2e-4, activation="relu"),
    },
    preset_notes={"report": ("preset report: Pfeiffer adapters were not part of the original experiment",)},
)
