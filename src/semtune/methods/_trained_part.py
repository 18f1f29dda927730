"""Base class of methods that train some of the model's own parameters in place and freeze all others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from semtune.contracts import LoadedModel
from semtune.methods._files import read_tensors, write_tensors
from semtune.records import MethodSettings

WEIGHTS_FILE = "trained.safetensors"

S = TypeVar("S", bound=MethodSettings)


class TrainedPart(Generic[S]):
    """Trains the parameters that a subclass selects, in the precision they were loaded in.

    What is trained is a part of the model itself, so nothing is left to merge. Where weights are bf16, the presets keep
    fp32 master weights: these parameters are few, and most of their updates would be rounded away.
    """

    Settings: type[S]

    def __init__(
        self, name: str, presets: Mapping[str, S], preset_notes: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.name = name
        self.presets = presets
        self.preset_notes = preset_notes or {}

    def select(self, loaded: LoadedModel, settings: S) -> list[nn.Parameter]:
        """The parameters to train. It may add parameters to the model, after all checks.

        Raises TargetError, OptionError.
        """
        raise NotImplementedError

    def attach(self, loaded: LoadedModel, settings: S) -> None:
        """Freeze the model but the selected parameters. Raises TargetError, OptionError, before any change."""
        selected = self.select(loaded, settings)
        loaded.model.requires_grad_(False)
        for parameter in selected:
            parameter.requires_grad_(True)

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Every parameter that requires a gradient, tied ones once."""
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def merge(self, model: nn.Module) -> None:
        """Nothing to do: what was trained are parameters of the model itself."""

    def save(self, model: nn.Module, folder: Path, settings: S, base_model: str) -> None:
        """Write the trained parameters to `trained.safetensors`, by their names in the model. Raises OutputError."""
        write_tensors(folder / WEIGHTS_FILE, self.trainable(model))

    def load(self, model: nn.Module, folder: Path) -> None:
        """Copy the parameters in `folder` into an attached model. Raises ModelError, before any was changed."""
        read_tensors(folder / WEIGHTS_FILE, self.trainable(model))
