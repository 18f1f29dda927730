"""Full fine-tuning: every weight of the model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from semtune.contracts import LoadedModel
from semtune.errors import OptionError
from semtune.methods._files import read_tensors, write_tensors
from semtune.nn.linear import train_refusal
from semtune.records import MethodSettings
from semtune.registry import QUANTIZATIONS

WEIGHTS_FILE = "model.safetensors"


class FullMethod:
    """Trains all parameters in the precision they were loaded in; fp32 masters, where set, live in the optimizer."""

    Settings = MethodSettings

    def __init__(
        self,
        name: str,
        presets: Mapping[str, MethodSettings],
        preset_notes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name = name
        self.presets = presets
        self.preset_notes = preset_notes or {}

    def attach(self, loaded: LoadedModel, settings: MethodSettings) -> None:
        """Let every parameter require a gradient.

        Raises OptionError over weights that are not trained in place, or that a quantisation has rounded, however it
        stores them: the result would pass for fine-tuning of the model that was named.
        """
        refusal = train_refusal(loaded.model.modules())
        if refusal is not None:
            raise OptionError(f"Full fine-tuning cannot train {refusal}")
        if settings.precision in QUANTIZATIONS:
            raise OptionError(
                f"Full fine-tuning cannot train weights that were rounded to {settings.precision}; choose precision "
                "fp32 or bf16, or a method that trains adapters beside them (qlora)"
            )
        loaded.model.requires_grad_(True)

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Every parameter that requires a gradient, tied ones once."""
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def merge(self, model: nn.Module) -> None:
        """Nothing to do: what was trained are the weights themselves."""

    def save(self, model: nn.Module, folder: Path, settings: MethodSettings, base_model: str) -> None:
        """Write all parameters to `model.safetensors` in their own dtype, tied ones once. Raises OutputError."""
        write_tensors(folder / WEIGHTS_FILE, dict(model.named_parameters()))

    def load(self, model: nn.Module, folder: Path) -> None:
        """Copy the parameters in `folder` into `model`, one at a time. Raises ModelError, before any was changed."""
        read_tensors(folder / WEIGHTS_FILE, dict(model.named_parameters()))


FULL = FullMethod(
    name="full",
    presets={
        # The original experiment: pure bf16, whose rounding may explain its poor score. Its learning rates are not
        # stated as far as we know; this is the usual value.
        "report": MethodSettings(precision="bf16", master_weights=False, learning_rate=2e-5),
        # fp32 masters keep the updates that bf16 weights would round away.
        "default": MethodSettings(precision="auto", master_weights=True, learning_rate=5e-5),
    },
    preset_notes={
        "report": (
            "preset report: the original experiment does not state its batch size, lengths and learning rates; full's "
            "learning rate here is a usual value",
        )
    },
)
