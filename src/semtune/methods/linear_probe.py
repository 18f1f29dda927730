"""Linear probe: the readout's own layer alone is trained, over a model that stays as it is (Alain & Bengio 2016).

The reference that every way of tuning has to beat (arXiv:1610.01644; Kumar et al. 2022, arXiv:2202.10054, compare it
with full fine-tuning on data unlike the training's).

- The hidden states that the readout reads never change, so the readout computes each text's once and keeps it: every
  epoch after the first is a product of the kept states with the layer. There is no dropout below the layer.
- No backward runs through the model, so activation checkpointing has no effect.
- The learning rate, the weight decay and the run's optimizer are those of the readout's layer, as nothing else is
  trained. The default is the readout's own rate.
- The file of the trained part is empty; the readout's files beside it hold what was trained. There is nothing to merge.
"""

from __future__ import annotations

from torch import nn

from semtune.contracts import LoadedModel
from semtune.methods._trained_part import TrainedPart
from semtune.records import MethodSettings


class LinearProbe(TrainedPart[MethodSettings]):
    """Freezes the model whole."""

    Settings = MethodSettings
    freezes_linears = True
    trains_readout_alone = True

    def select(self, loaded: LoadedModel, settings: MethodSettings) -> list[nn.Parameter]:
        """No parameter of the model."""
        return []


LINEAR_PROBE = LinearProbe(
    name="linear-probe",
    presets={
        # Not in the original experiment: its precision.
        "report": MethodSettings(precision="bf16", learning_rate=1e-3),
        "default": MethodSettings(precision="auto", learning_rate=1e-2),
    },
    preset_notes={"report": ("preset report: a linear probe was not part of the original experiment",)},
)
